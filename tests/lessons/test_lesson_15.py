"""Appendix 15: its own functions are right, and its figures are what it claims."""

import pytest
import torch

from tests.lessons import cells

STEM = "15_look_inside_memory"


def bound(*names):
    """What these cells bind."""
    return cells.run(cells.sources(STEM), {"torch": torch}, *names)


def test_attention_keeps_scores_and_flash_attention_does_not():
    space = bound("attention-kept")
    q, k, v = torch.randn(3, 1, 2, 128, 64).requires_grad_()
    kinds = space["SDPBackend"]
    (one, much), (two, little) = (
        space["attend"](kind, q, k, v) for kind in (kinds.MATH, kinds.FLASH_ATTENTION)
    )
    torch.testing.assert_close(one, two)
    scores = 2 * 128 * 128 * 4 / 2**20
    assert much > scores > much - little


@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("model.layers.0.mlp.up_proj.weight", torch.uint8, "4-bit codes"),
        ("model.layers.0.mlp.up_proj.lora_A.default.weight", torch.half, "adapter"),
        ("model.layers.0.input_layernorm.weight", torch.half, "norms"),
        ("lm_head.weight", torch.half, "embeddings and head"),
    ],
)
def test_weights_are_told_apart(name, dtype, kind):
    assert bound("prepare")["kind_of"](name, torch.zeros(1, dtype=dtype)) == kind


@pytest.mark.slow
def test_gradients_survive_an_evaluation(figures):
    assert figures["cosine_cured"] > 0.999
    assert figures["cosine_bare"] < 0.9 or not figures["repacks"]


@pytest.mark.slow
def test_what_it_counts(figures):
    assert 8 < figures["attention_ratio"] < 9  # at 2,048 tokens
    assert 0.4 < figures["optimizer_8bit"] / figures["optimizer_fp32"] < 0.6
    assert 1.9 < figures["lifted_gib"] < 2.0
