"""Batched greedy answers to chats."""

import contextlib
import sys
from collections.abc import Iterator

import psutil
import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig

from helpers.formatting import render
from helpers.models import answer_end, available_bytes

# Rows a batch: on a CPU, and at most.
CPU_BATCH, MOST = 100, 128
# Tokens of all prompts that a CPU reads at once in 16 bit: what a layer makes of them
# stays in its cache, which takes a quarter less time (SmolLM2 with an adapter).
CPU_CHUNK = 8


def generate(
    model, tokenizer, prompts: list, max_new_tokens: int = 80, **options
) -> list[str]:
    """The greedy answers to prompts, in their order, without special tokens.

    prompts: lists of messages. options: of `generate_with_stops`.
    """
    pairs = generate_with_stops(model, tokenizer, prompts, max_new_tokens, **options)
    return [answer for answer, _ in pairs]


def generate_with_stops(
    model,
    tokenizer,
    prompts: list,
    max_new_tokens: int = 80,
    batch_size: int | None = None,
    progress: bool = False,
    logits_processor=None,
    tools=None,
) -> list[tuple[str, bool]]:
    """As `generate`, each answer with whether the model ended it by itself.

    max_new_tokens: fewer where a batch's longest prompt leaves the model's window less.
    batch_size: None lets `batch_that_fits` choose. progress: show a bar.
    logits_processor: for `model.generate`, such as that of `json_processor`.
    tools: of each prompt, those that it may call, or None.
    """
    pairs = zip(prompts, tools or [None] * len(prompts), strict=True)
    ids = [prompt_ids(tokenizer, prompt, known) for prompt, known in pairs]
    # Neighbours of about one length need little padding.
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    settings = _settings(model, tokenizer, max_new_tokens)
    options = {"generation_config": settings, "logits_processor": logits_processor}
    if batch_size is None:
        longest = max(map(len, ids), default=0)
        batch_size = batch_that_fits(model, longest + max_new_tokens)
    answers, was_training = {}, model.training
    model.eval()
    try:
        bar = tqdm(total=len(ids), unit="answer", disable=not progress)
        with bar, _own_settings_aside(model):
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = [ids[row] for row in rows]
                room = _window(model) - max(map(len, batch))
                settings.max_new_tokens = max(1, min(max_new_tokens, room))
                found = _generate_batch(model, tokenizer, batch, options)
                answers.update(zip(rows, found, strict=True))
                bar.update(len(rows))
    finally:
        model.train(was_training)
    return [answers[row] for row in range(len(ids))]


def batch_that_fits(model, tokens: int, free_bytes: int | None = None) -> int:
    """How many rows of so many tokens, answers included, a model generates at once.

    free_bytes: of the model's GPU or the machine; None asks it. Half of them may become
    the cache of keys and values: it grows by copies, and a layer computes beside it.
    """
    on_cpu = model.device.type == "cpu"
    most = CPU_BATCH if on_cpu else MOST
    if free_bytes is None:
        on_machine = psutil.virtual_memory().available
        free_bytes = on_machine if on_cpu else available_bytes()
    if not (size := cache_bytes(model)):
        return most
    return max(1, min(most, free_bytes // 2 // (tokens * size)))


def cache_bytes(model) -> int:
    """Bytes that the cache of a model takes for a token: a key and a value a layer.

    0 for a model without attention.
    """
    config = model.config.get_text_config()
    if not isinstance(heads := getattr(config, "num_attention_heads", None), int):
        return 0
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    # A 4-bit layer answers in the precision that it is asked in, the embedding's.
    size = model.get_input_embeddings().weight.element_size()
    return 2 * config.num_hidden_layers * keys * width * size


def _window(model) -> int:
    """How many positions a model knows."""
    config = model.config.get_text_config()
    return getattr(config, "max_position_embeddings", None) or sys.maxsize


def prompt_ids(tokenizer, messages: list[dict], tools=None) -> list[int]:
    """The token ids of a prompt, up to where the answer starts."""
    return render(tokenizer, {"prompt": messages, "tools": tools})


def stop_ids(model, tokenizer) -> list[int]:
    """Every id that ends an answer: eos of tokenizer and model, and the template's end.

    Phi-3 and Llama 3 have several, and a model that is stopped by one of them rambles
    on (torchtune#1778).
    """
    eos = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])}
    return sorted({*ids, answer_end(tokenizer)} - {None})


def _settings(model, tokenizer, max_new_tokens: int) -> GenerationConfig:
    """Greedy answers of so many tokens at most."""
    in_16_bit = model.config._attn_implementation == "grouped"  # of cpu_training
    # Under autocast keys and values may be of two types, which a static cache is not.
    mixed = torch.is_autocast_enabled(model.device.type)
    static = model.device.type == "cpu" and not mixed
    return GenerationConfig(
        prefill_chunk_size=CPU_CHUNK if in_16_bit and not mixed else None,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=stop_ids(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        # A cache that grows is copied for every token, which takes a third of the time
        # on a CPU. On a GPU a static one would make transformers compile the model.
        cache_implementation="static" if static else None,
    )


@contextlib.contextmanager
def _own_settings_aside(model) -> Iterator[None]:
    """Keeps a checkpoint's own settings out of its answers, and of their warnings.

    transformers takes from them what it is not told: Llama 3.1 samples, Qwen 2.5
    punishes repetition, others search beams or forbid words.
    """
    holders = [model]
    if hasattr(model, "get_base_model"):  # PEFT hands its own down to the base
        holders.append(model.get_base_model())
    own = [holder.generation_config for holder in holders]
    try:
        for holder in holders:
            holder.generation_config = GenerationConfig()
        yield
    finally:
        for holder, settings in zip(holders, own, strict=True):
            holder.generation_config = settings


def _generate_batch(model, tokenizer, ids: list, options) -> list[tuple[str, bool]]:
    """(answer, stopped) of each prompt; padding left, so answers follow prompts."""
    batch = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**batch.to(model.device), **options)
    new = output[:, batch["input_ids"].shape[1] :].cpu()  # (batch, new tokens)
    stops = torch.tensor(options["generation_config"].eos_token_id)
    stopped = torch.isin(new, stops).any(dim=1)
    texts = tokenizer.batch_decode(new, skip_special_tokens=True)
    return list(zip(texts, stopped.tolist(), strict=True))
