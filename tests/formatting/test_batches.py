"""Batches of the plain loop: what is learnt, and what is padding."""

from types import SimpleNamespace

import pytest

from helpers.config import load_profile
from helpers.formatting.batches import collate, encode
from helpers.formatting.splits import load_splits
from helpers.models.loading import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(load_profile("tiny", model="data/checkpoints/tiny-llama"))


def test_labels_are_the_answer_and_its_end(tokenizer):
    row = load_splits("data/tickets")["train"][0]
    ids, labels = encode(tokenizer, row)
    trained = [label for label in labels if label != -100]
    assert len(ids) == len(labels) and ids[-len(trained) :] == trained
    answer = row["completion"][0]["content"]
    assert tokenizer.decode(trained).startswith(answer)
    assert tokenizer.eos_token_id in trained
    assert row["prompt"][0]["content"] in tokenizer.decode(ids[: -len(trained)])


def test_padding_is_right_and_not_trained():
    pad = SimpleNamespace(pad_token_id=9)
    batch = collate(pad, [([1, 2, 3], [-100, 2, 3]), ([4], [4])])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["labels"].tolist() == [[-100, 2, 3], [4, -100, -100]]
