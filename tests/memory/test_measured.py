"""The bytes that a training loop counts."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.memory.measured import kept_bytes, stored_bytes


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
