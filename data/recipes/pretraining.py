"""The recipe of the tiny checkpoints: settings, batches, model, one step, its test.

`tiny_checkpoints` runs it.
"""

import hashlib
import random
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.optim import AdamW, Muon
from transformers import LlamaConfig, LlamaForCausalLM

from data.recipes import corpus
from data.recipes.customer_messages import invent_name

# Digits stand alone, so that an order number is copied digit by digit. A space stands
# alone before capitals and digits, so that a name has the same tokens everywhere.
PRE_TOKENS = r"\p{N}|\p{Lu}\p{Ll}*| ?\p{Ll}+| ?[^\s\p{L}\p{N}]+|\s+"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights.

    rows, length: a batch, (rows, length) tokens. positions: the longest input.
    muon_lr, adamw_lr: the full learning rates.
    rates: (step, share of the full learning rate), linear between them.
    stages: (first step, stage of the corpus); see `corpus.make_document`.
    """

    seed: int = 0
    vocab_size: int = 2048
    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 6
    positions: int = 1024
    rows: int = 6
    length: int = 512
    steps: int = 5650
    rates: tuple = (
        (-1, 0.0),
        (99, 1.0),
        (2250, 1.0),
        (3750, 1 / 3),
        (5000, 0.0),
        (5030, 0.3),
        (5650, 0.0),
    )
    stages: tuple = (
        (0, "exercises"),
        (800, "plain"),
        (2250, "loose"),
        (3750, "keys"),
        (5000, "codes"),
    )
    muon_lr: float = 3e-3
    adamw_lr: float = 3e-3
    tokenizer_documents: int = 30000


def build_tokenizer(recipe: Recipe) -> Tokenizer:
    """Byte-level BPE, trained on the corpus; always the same."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRE_TOKENS), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=corpus.SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rng = random.Random(f"{recipe.seed}/tokenizer")
    count = recipe.tokenizer_documents
    documents = (corpus.make_document(rng, "plain") for _ in range(count))
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def stage_at(recipe: Recipe, step: int) -> str:
    """The stage of the corpus that a step reads."""
    return [stage for first, stage in recipe.stages if first <= step][-1]


def make_batch(tokenizer: Tokenizer, recipe: Recipe, step: int) -> list[int]:
    """The rows * length token ids of a step; it needs no other step."""
    rng = random.Random(f"{recipe.seed}/{step}")
    size, ids = recipe.rows * recipe.length, []
    stage = stage_at(recipe, step)
    while len(ids) < size:
        texts = [corpus.make_document(rng, stage) for _ in range(20)]
        ids += [i for encoding in tokenizer.encode_batch(texts) for i in encoding.ids]
    return ids[:size]


def corpus_digest(tokenizer: Tokenizer, recipe: Recipe) -> str:
    """The sha256 of five steps' ids: it knows generator, lists and tokenizer."""
    digest = hashlib.sha256()
    for step in (*(first for first, _ in recipe.stages), recipe.steps - 1):
        digest.update(repr(make_batch(tokenizer, recipe, step)).encode())
    return digest.hexdigest()


def new_model(recipe: Recipe) -> LlamaForCausalLM:
    """A randomly initialised LlamaForCausalLM of the recipe's shape, in fp32."""
    ids = {token: i for i, token in enumerate(corpus.SPECIAL_TOKENS)}
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.positions,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=ids["<|begin_of_text|>"],
        eos_token_id=ids["<|eot_id|>"],
        pad_token_id=ids["<|finetune_right_pad_id|>"],
    )
    return LlamaForCausalLM(config)


def make_optimizers(model, recipe: Recipe) -> list:
    """[Muon, AdamW]: Muon for the matrices inside the layers, AdamW for the
    embeddings and norms, as the documentation of torch.optim.Muon advises."""
    matrices, others = [], []
    for name, p in model.named_parameters():
        (matrices if p.ndim == 2 and "embed" not in name else others).append(p)
    fit = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0}
    return [
        Muon(matrices, lr=recipe.muon_lr, **fit),
        AdamW(others, lr=recipe.adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def learning_rate_share(recipe: Recipe, step: int) -> float:
    """The share of the full learning rate: warm-up, plateau, decay."""
    return float(np.interp(step, *zip(*recipe.rates, strict=True)))


def train_step(
    model, optimizers: list, recipe: Recipe, ids: list[int], step: int
) -> float:
    """Takes one optimizer step on one batch; returns its mean loss, in nats a token."""
    full_rates = (recipe.muon_lr, recipe.adamw_lr)
    for optimizer, full in zip(optimizers, full_rates, strict=True):
        optimizer.param_groups[0]["lr"] = full * learning_rate_share(recipe, step)
    x = torch.tensor(ids).view(recipe.rows, recipe.length)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=x, labels=x, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def held_out_losses(model, raw, count: int = 64) -> dict[str, float]:
    """The mean losses, in nats a token, on text of a seed of its own.

    "message": of messages with their notes. "copy": of writing invented names again,
    five of six that the text just gave; the first stands there, to show what to do.
    """
    rng = random.Random("held out")
    messages = [("<s>", corpus.message_document(rng)) for _ in range(count)]
    copies = []
    for _ in range(count):
        names = [invent_name(rng) for _ in range(6)]
        copies.append((f"<s>{', '.join(names)} | {names[0]}, ", ", ".join(names[1:])))
    return {
        "message": round(mean_loss(model, raw, messages), 5),
        "copy": round(mean_loss(model, raw, copies), 5),
    }


def mean_loss(model, raw, texts: list[tuple[str, str]]) -> float:
    """The mean loss, in nats a token of the second of each (given, scored)."""
    total = tokens = 0
    model.eval()
    for given, scored in texts:
        head, tail = raw.encode(given).ids, raw.encode(scored).ids
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([head + tail])).logits[0]
        guesses = logits[len(head) - 1 : -1].float()  # (len(tail), vocab)
        wanted = torch.tensor(tail)
        total += torch.nn.functional.cross_entropy(guesses, wanted, reduction="sum")
        tokens += len(tail)
    return total.item() / tokens
