"""Batches of the plain loop, and the bytes that it counts."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.config import load_profile
from helpers.formatting.batches import collate, encode
from helpers.formatting.splits import load_splits
from helpers.memory.measured import kept_bytes, stored_bytes
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


def test_stored_bytes_are_gradient_and_two_averages():
    layer = nn.Linear(8, 4, bias=False)
    optimizer = torch.optim.AdamW(layer.parameters())
    assert stored_bytes(optimizer) == 0
    layer(torch.ones(8)).sum().backward()
    assert stored_bytes(optimizer) == 4 * 32
    optimizer.step()
    assert stored_bytes(optimizer) == 3 * 4 * 32 + 4  # and a step counter


class Squares(nn.Module):
    """loss = sum((W x)^2): keeps x for the gradient of W, and W x for the square."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4, bias=False)

    def forward(self, x, use_cache):
        return SimpleNamespace(loss=self.layer(x).square().sum())


@pytest.mark.parametrize(("trained", "expected"), [(True, 16 * (8 + 4)), (False, 0)])
def test_kept_bytes_count_what_backward_needs(trained, expected):
    model = Squares().requires_grad_(trained)
    assert kept_bytes(model, {"x": torch.ones(4, 8)}) == expected
