"""Losses of answers and of plain text, against the sum by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from data.recipes.pretraining import mean_loss
from helpers.config import GIB
from helpers.evaluation import likelihood
from helpers.evaluation.likelihood import answer_loss, perplexity, text_loss
from helpers.models import meta_model
from tests.models.tiny_model import WORDS, build_model, chat

TEXTS = [("<|begin|>", word * times) for times, word in enumerate(WORDS, start=1)]
TEXTS.append(("<|begin|>" + WORDS[0], WORDS[1]))


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_text_loss_is_the_one_of_the_pretraining(model, tokenizer, batch_size):
    def encode(text):
        return SimpleNamespace(ids=tokenizer.encode(text, add_special_tokens=False))

    expected = mean_loss(model, SimpleNamespace(encode=encode), TEXTS)
    got = text_loss(model, tokenizer, TEXTS, batch_size)
    assert got == pytest.approx(expected, rel=1e-5)


def test_what_is_given_is_not_scored(model, tokenizer):
    whole = text_loss(model, tokenizer, [("<|begin|>", WORDS[0] + WORDS[1])])
    end = text_loss(model, tokenizer, [("<|begin|>" + WORDS[0], WORDS[1])])
    assert abs(whole - end) > 0.01


@pytest.mark.parametrize(("name", "rows"), [("Phi-3-mini", 18), ("Qwen3-8B", 3)])
def test_a_gpu_reads_as_many_rows_as_their_logits_leave_it_room_for(
    monkeypatch, name, rows
):
    monkeypatch.setattr(likelihood, "available_bytes", lambda: 2 * 2**30)
    assert likelihood._most_positions(meta_model(name)) // 150 == rows


@pytest.mark.parametrize(
    ("rows", "positions", "read"),
    [
        (2, 1000, [[2, 3], [5, 9]]),
        (16, 1000, [[2, 3, 5, 9]]),
        (16, 10, [[2, 3], [5], [9]]),
        (16, 0, [[2], [3], [5], [9]]),  # one at least
    ],
)
def test_a_long_text_is_read_with_fewer_others(rows, positions, read):
    pairs = [([0] * tokens, 1) for tokens in (9, 3, 2, 5)]
    batches = likelihood._batches(pairs, rows, positions)
    assert [[len(ids) for ids, _ in batch] for batch in batches] == read


def test_a_cpu_holds_logits_of_one_gib(model):
    most = likelihood._most_positions(model)
    assert 0.9 < most * 12 * model.config.vocab_size / GIB <= 1


def test_no_more_rows_are_read_than_fit(model, tokenizer, monkeypatch):
    read, batch_nll = [], likelihood._batch_nll
    expected = text_loss(model, tokenizer, TEXTS)

    def spy(model, tokenizer, pairs):
        read.append(len(pairs))
        return batch_nll(model, tokenizer, pairs)

    monkeypatch.setattr(likelihood, "_batch_nll", spy)
    monkeypatch.setattr(likelihood, "_most_positions", lambda _: 0)
    got = text_loss(model, tokenizer, TEXTS)
    assert got == pytest.approx(expected, rel=1e-5) and read == [1] * len(TEXTS)


@pytest.mark.parametrize("text", [("", "a"), ("a", "")])
def test_a_text_without_tokens_is_refused(model, tokenizer, text):
    with pytest.raises(ValueError, match="1 or more of each: got"):
        text_loss(model, tokenizer, [text])


def test_a_model_that_knows_nothing_has_the_loss_of_its_vocabulary(tokenizer):
    model = build_model()
    torch.nn.init.zeros_(model.lm_head.weight)
    assert text_loss(model, tokenizer, TEXTS) == pytest.approx(math.log(320), rel=1e-5)
    got = perplexity(model, tokenizer, [chat("where is it", WORDS[1])])
    assert got == pytest.approx(320, rel=1e-5)


def test_perplexity_is_exp_of_the_loss(model, tokenizer):
    examples = [chat("where is it", WORDS[1])]
    loss = answer_loss(model, tokenizer, examples)
    assert perplexity(model, tokenizer, examples) == math.exp(loss)
