"""Appendix 14: the NF4 that it writes is bitsandbytes', its figures what it claims."""

import bitsandbytes as bnb
import pytest
import torch
from torch.testing import assert_close

from tests.lessons import cells

STEM = "14_derive_nf4"
BLOCKS = [32, 64, 128, 256, 512, 1024]
DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str
)


@pytest.fixture(scope="module")
def lesson():
    """What the cells `levels` and `blockwise` of the notebook bind."""
    return cells.run(cells.sources(STEM), {"torch": torch}, "levels", "blockwise")


def weight(dtype, seed=0, shape=(24, 4096)):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) / 50).to(dtype)


def unpacked(packed):
    """The two codes of each byte, the upper half first."""
    return torch.stack([packed >> 4, packed & 15], dim=-1).flatten().long()


def theirs(w, block, double=False):
    return bnb.functional.quantize_4bit(
        w, blocksize=block, quant_type="nf4", compress_statistics=double
    )


def test_the_levels_are_the_table_of_bitsandbytes(lesson):
    table = bnb.functional.get_4bit_type("nf4", device="cpu")
    assert lesson["nf4"].shape == (16,) and lesson["nf4"][7] == 0
    assert_close(lesson["nf4"], table, atol=3e-7, rtol=0)  # its fp32 against our fp64
    assert bool((lesson["levels"].diff() > 0).all())


@pytest.mark.parametrize("block", BLOCKS)
@DTYPES
def test_codes_and_values_are_those_of_bitsandbytes(lesson, block, dtype):
    w = weight(dtype)
    codes, absmax = lesson["quantize"](w.float(), lesson["nf4"], block)
    packed, state = theirs(w, block)
    assert torch.equal(absmax.flatten(), state.absmax)
    # A weight within rounding of a border may fall to either side.
    same = (codes.flatten() == unpacked(packed)).double().mean()
    assert same == 1 if dtype == torch.float32 else same > 0.9999
    restored = lesson["dequantize"](codes, absmax, lesson["nf4"], w.shape)
    wanted = bnb.functional.dequantize_4bit(packed, state)
    close = torch.isclose(restored.to(dtype), wanted, rtol=0.01, atol=1e-6)
    assert close.double().mean() > 0.9999


def test_other_levels_or_blocks_are_seen(lesson):
    """The control: evenly spaced levels, and blocks of another size."""
    w = weight(torch.float32)
    wanted = unpacked(theirs(w, 64)[0])
    for levels, block in ((torch.linspace(-1, 1, 16), 64), (lesson["nf4"], 128)):
        codes, _ = lesson["quantize"](w, levels, block)
        assert (codes.flatten() == wanted).double().mean() < 0.95


def test_the_largest_weight_of_a_block_comes_back_exactly(lesson):
    w = weight(torch.float32)
    codes, absmax = lesson["quantize"](w, lesson["nf4"], 64)
    back = lesson["dequantize"](codes, absmax, lesson["nf4"], w.shape)
    blocks, restored = w.reshape(-1, 64), back.reshape(-1, 64)
    at = blocks.abs().argmax(dim=1, keepdim=True)
    assert torch.equal(blocks.gather(1, at), restored.gather(1, at))
    error = ((w - back).norm() / w.norm()).item()
    assert 0.090 < error < 0.094  # measured on normal weights: 0.092


def test_a_block_of_zeros_stays_zero_in_bitsandbytes():
    packed, state = theirs(torch.zeros(2, 64), 64)
    assert not bnb.functional.dequantize_4bit(packed, state).any()


@pytest.mark.parametrize(
    ("double", "bits"), [(False, 4 + 32 / 64), (True, 4 + 8 / 64 + 32 / (64 * 256))]
)
def test_bits_a_weight(double, bits):
    w = weight(torch.float32)
    packed, state = theirs(w, 64, double)
    stored = packed.nbytes + state.absmax.nbytes
    stored += state.state2.absmax.nbytes if double else 0
    assert 8 * stored / w.numel() == bits


@pytest.mark.parametrize("outermost", [0.93, 0.99])
def test_another_outermost_share_gives_other_levels(lesson, outermost):
    other = lesson["levels_to"](outermost)
    assert other.shape == (16,) and other[7] == 0 and other[0] == -1 and other[15] == 1
    assert (other - lesson["levels"]).abs().max() > 0.01


@pytest.mark.slow
def test_nf4_by_hand(figures):
    assert figures["levels_gap"] < 1e-6 and figures["values_gap"] < 1e-6
    assert figures["codes_compared"] > 1_000_000
    assert figures["nf4_error"] < figures["int4_error"] < figures["fp4_error"]
    assert figures["fp4_error"] > 1.3 * figures["nf4_error"]  # "a third", says 04
    assert figures["bits_single"] == 4.5
    assert round(figures["bits_double"], 3) == 4.127


@pytest.mark.slow
def test_a_small_change_is_rounded_away(figures):
    assert figures["left_of_one_percent"] < 0.05


@pytest.mark.slow
def test_blocks_contain_outliers(figures):
    assert figures["real_error"] < 0.10 < figures["real_error_4096"]
