"""How surprised is a model? Loss and perplexity of answers, and of any text.

A loss is the mean negative log-likelihood, in nats a token; perplexity is exp of it.
Both depend on the tokenizer: compare only models that share one. batch_size: rows at
once, at most: on a GPU without memory for the logits of so many, fewer.
"""

import math
import sys

import torch

from helpers.formatting import read_chat, render
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
    pairs = sorted(pairs, key=lambda pair: len(pair[0]))
    longest = max((len(ids) for ids, _ in pairs), default=1)
    batch_size = min(batch_size, _most_rows(model, longest))
    total, count, was_training = 0.0, 0, model.training
    model.eval()
    try:
        for start in range(0, len(pairs), batch_size):
            batch = pairs[start : start + batch_size]
            nll, tokens = _batch_nll(model, tokenizer, batch)
            total, count = total + nll, count + tokens
    finally:
        model.train(was_training)
    return total / count


def _most_rows(model, tokens: int) -> int:
    """How many rows of so many tokens fit a GPU with all their logits."""
    if model.device.type == "cpu":
        return sys.maxsize
    # In 16 bit, in fp32, and as log-softmax: 10 bytes, and a little more.
    row = 12 * tokens * model.config.get_text_config().vocab_size
    return max(1, available_bytes() // 2 // row)


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
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for row, (_, given) in enumerate(pairs):
        labels[row, :given] = -100
    tokens = int((labels[:, 1:] != -100).sum())  # the first token has no prediction
    batch, labels = batch.to(model.device), labels.to(model.device)
    with torch.inference_mode():
        loss = model(**batch, labels=labels, use_cache=False).loss
    return loss.item() * tokens, tokens
