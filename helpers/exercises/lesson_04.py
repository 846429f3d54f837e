"""The checks of lesson 04's exercises."""

import torch

from helpers.exercises.checking import IN_PERCENT, Exercise, acts_like, numeric

BLOCK, NESTED = 128, 256  # weights a scale, scales a number of the second level
LINEAR, TABLE = 6_979_321_856, 128_256 * 4_096  # Llama-3.1-8B
NF4_BYTES = LINEAR * 4.127 / 8


def _share(ends: float, linear: float = NF4_BYTES) -> float:
    """The share that embeddings and head take of that many bytes."""
    return ends / (linear + ends)


def _packed_weights() -> tuple:
    """Always the same random (packed, absmax, levels, block)."""
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (32,), generator=generator).to(torch.uint8)
    absmax = torch.rand(4, generator=generator) + 0.5
    return packed, absmax, torch.randn(16, generator=generator).sort().values, 16


def _codes(packed: torch.Tensor, first: int = 4) -> torch.Tensor:
    """The codes of bytes; first: by how many bits the first code is shifted."""
    return torch.stack([packed >> first & 15, packed >> 4 - first & 15], -1).flatten()


def _restores(codes=_codes, scales=torch.repeat_interleave, look_up: bool = True):
    """A predicate: whether an answer makes of codes and scales what these make."""

    def rule(packed, absmax, levels, block):
        found = codes(packed)
        return (levels[found.long()] if look_up else found) * scales(absmax, block)

    def same(got, wanted):
        return got.shape == wanted.shape and torch.allclose(got.float(), wanted)

    return acts_like(rule, [_packed_weights()], same)


EXERCISES = {
    "04.1": numeric(
        "a number of bits",
        right=4 + 8 / BLOCK + 32 / (BLOCK * NESTED),
        within=0.0005,
        praise="The gain over blocks of 64 is small, which is why few people change "
        "the block size once they quantise the scales.",
        hint="add three prices: the code, its part of a scale, and its part of the "
        "number that the scales share.",
        mistakes={
            "that is without double quantisation: here a scale has 8 bits.": (
                4 + 32 / BLOCK
            ),
            "that is the price of the default; the blocks here are larger.": (
                4 + 8 / 64 + 32 / (64 * NESTED)
            ),
            "nearly: the scales have a scale of their own.": 4 + 8 / BLOCK,
            "that is the price of the scales. The weight itself has a code too.": (
                8 / BLOCK + 32 / (BLOCK * NESTED)
            ),
            "how many weights share the number of the second level? It serves "
            "many scales, and each scale a whole block.": 4 + 8 / BLOCK + 32 / NESTED,
        },
    ),
    "04.2": Exercise(
        "a function of packed, absmax, levels and block",
        right=_restores(),
        praise="This, fused into the matrix product, is what bitsandbytes' kernels "
        "do at every forward pass.",
        hint="unpack the codes, look up their levels, give each its block's scale. "
        "The result has two weights a byte.",
        mistakes={
            "the neighbours have changed places: which half of a byte comes first?": (
                _restores(lambda packed: _codes(packed, first=0))
            ),
            "the two codes of a byte belong side by side: stack them, do not put "
            "one half of the codes behind the other.": _restores(
                lambda packed: torch.cat([packed >> 4, packed & 15])
            ),
            "these are levels between -1 and 1. What were the weights divided by?": (
                _restores(scales=lambda absmax, block: 1)
            ),
            "every weight gets another scale than its neighbour. A scale holds for "
            "a whole block in a row.": _restores(scales=torch.Tensor.repeat),
            "a code is only the number of a level: look the level up.": (
                _restores(look_up=False)
            ),
        },
    ),
    "04.3": numeric(
        "a number, the share of the model's bytes",
        right=_share(2 * TABLE * 2),
        within=0.003,
        praise="Models with a large vocabulary shrink less than fourfold; compare "
        "bytes, not counts.",
        hint="bytes of the linear layers, bytes of the two tables, then their share.",
        percent=IN_PERCENT,
        mistakes={
            "that is their share of the numbers. A number of theirs takes more "
            "bytes than one in NF4.": _share(2 * TABLE, LINEAR),
            "either one table is missing, or a byte of every number in them.": (
                _share(TABLE * 2)
            ),
            "a share is of the whole: the tables belong to the model too.": (
                2 * TABLE * 2 / NF4_BYTES
            ),
        },
    ),
}
