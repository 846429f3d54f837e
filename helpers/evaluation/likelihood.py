"""How surprised is a model? Loss and perplexity of answers, and of any text.

A loss is the mean negative log-likelihood, in nats a token; perplexity is exp of it.
Both depend on the tokenizer: compare only models that share one. batch_size: rows at
once, at most: fewer where the logits of so many would not fit (`_most_positions`).
"""

import math
from collections.abc import Iterator

import torch

from helpers.config import GIB
from helpers.formatting import IGNORED, read_chat, render
from helpers.models import ModelError, available_bytes


def perplexity(model, tokenizer, examples, batch_size: int = 16) -> float:
    """exp of `answer_loss`. Raises ModelError as it does."""
    return math.exp(answer_loss(model, tokenizer, examples, batch_size))


def answer_loss(model, tokenizer, examples, batch_size: int = 16) -> float:
    """The loss of the answers' tokens, their ends included, in nats a token.

    examples: what `formatting.to_messages` takes, or a split of `load_splits`.
    Raises ModelError where the template renders a prompt otherwise once it is answered,
    as Qwen 3's does where the answer begins with thoughts.
    """
    pairs = [_answered_ids(tokenizer, read_chat(example)) for example in examples]
    return _mean_nll(model, tokenizer, pairs, batch_size)


def text_loss(model, tokenizer, texts, batch_size: int = 16) -> float:
    """The loss of plain text, without a chat template, in nats a token.

    texts: (given, scored), two str each: what the model reads, a start token at least,
        and what it is scored on. Raises ValueError where nothing is given or scored.
    """
    pairs = []
    for text in texts:
        given, scored = (tokenizer.encode(t, add_special_tokens=False) for t in text)
        if not given or not scored:
            rule = "requires a token to read and a token to score, 1 or more of each"
            raise ValueError(f"{rule}: got {text!r}")
        pairs.append((given + scored, len(given)))
    return _mean_nll(model, tokenizer, pairs, batch_size)


def _mean_nll(model, tokenizer, pairs: list, batch_size: int) -> float:
    """The mean over all tokens of (ids, how many of them are only read)."""
    total, count, was_training = 0.0, 0, model.training
    model.eval()
    try:
        for batch in _batches(pairs, batch_size, _most_positions(model)):
            nll, tokens = _batch_nll(model, tokenizer, batch)
            total, count = total + nll, count + tokens
    finally:
        model.train(was_training)
    return total / count


def _batches(pairs: list, rows: int, positions: int) -> Iterator[list]:
    """So many rows at most, of like length, and so many positions, padding included."""
    batch = []
    for pair in sorted(pairs, key=lambda pair: len(pair[0])):
        if batch and min(rows, positions // len(pair[0])) <= len(batch):
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def _most_positions(model) -> int:
    """At how many positions all logits fit a GPU; of a CPU's memory they get 1 GiB."""
    gpu = model.device.type != "cpu"
    # In 16 bit, in fp32, and as log-softmax: 10 bytes, and a little more.
    position = 12 * model.config.get_text_config().vocab_size
    return (available_bytes() // 2 if gpu else GIB) // position


def _answered_ids(tokenizer, chat) -> tuple[list[int], int]:
    """The ids of a `formatting.read_chat`, and how many of them are its prompt."""
    row = {"prompt": chat.messages[:-1], "completion": chat.messages[-1:]}
    row["tools"] = chat.tools
    prompt, ids = render(tokenizer, row), render(tokenizer, row, answered=True)
    if ids[: len(prompt)] != prompt:
        rule = "requires a chat template whose prompt stays the same once answered"
        got = tokenizer.decode(ids[: len(prompt)])
        raise ModelError(f"{rule}: got {got!r} for {tokenizer.decode(prompt)!r}")
    return ids, len(prompt)


def _batch_nll(model, tokenizer, pairs: list) -> tuple[float, int]:
    """Summed negative log-likelihood of a batch's scored tokens, and their number."""
    ids = {"input_ids": [ids for ids, _ in pairs]}
    batch = tokenizer.pad(ids, padding_side="right", return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
    for row, (_, given) in enumerate(pairs):
        labels[row, :given] = IGNORED
    tokens = int((labels[:, 1:] != IGNORED).sum())  # the first token has no prediction
    batch, labels = batch.to(model.device), labels.to(model.device)
    with torch.inference_mode():
        loss = model(**batch, labels=labels, use_cache=False).loss
    return loss.item() * tokens, tokens
