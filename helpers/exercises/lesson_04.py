"""The checks of lesson 04's exercises."""

import torch

from helpers.exercises.checking import Exercise, Mistake, close

BLOCK, NESTED = 128, 256  # weights a scale, scales a number of the second level
LINEAR, TABLE = 6_979_321_856, 128_256 * 4_096  # Llama-3.1-8B
NF4_BYTES = LINEAR * 4.127 / 8


def _share(ends, linear=NF4_BYTES):
    """The share that embeddings and head take of that many bytes."""
    return ends / (linear + ends)


def _codes(packed, first=4):
    """The codes of bytes; first: by how many bits the first code is shifted."""
    return torch.stack([packed >> first & 15, packed >> 4 - first & 15], -1).flatten()


def _restores(answer, rule):
    """Whether answer(packed, absmax, levels, block) is what a rule makes of codes.

    rule: a function of (packed, absmax, levels, block) that returns the weights.
    """
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (32,), generator=generator).to(torch.uint8)
    absmax = torch.rand(4, generator=generator) + 0.5
    levels = torch.randn(16, generator=generator).sort().values
    given = (packed, absmax, levels, 16)
    got = answer(*(g.clone() if torch.is_tensor(g) else g for g in given))
    wanted = rule(*given)
    return got.shape == wanted.shape and torch.allclose(got.float(), wanted)


def _right(packed, absmax, levels, block):
    return levels[_codes(packed).long()] * absmax.repeat_interleave(block)


EXERCISES = {
    "04.1": Exercise(
        expected="a number of bits",
        right=lambda a: close(a, 4 + 8 / BLOCK + 32 / (BLOCK * NESTED), within=0.0005),
        praise="The gain over blocks of 64 is small, which is why few people change "
        "the block size once they quantise the scales.",
        hint="add three prices: the code, its part of a scale, and its part of the "
        "number that the scales share.",
        mistakes=(
            Mistake(
                "scales in 32 bits",
                lambda a: close(a, 4 + 32 / BLOCK, within=0.0005),
                "that is without double quantisation: here a scale has 8 bits.",
            ),
            Mistake(
                "blocks of 64",
                lambda a: close(a, 4 + 8 / 64 + 32 / (64 * NESTED), within=0.0005),
                "that is the price of the default; the blocks here are larger.",
            ),
            Mistake(
                "forgot the second level",
                lambda a: close(a, 4 + 8 / BLOCK, within=0.0005),
                "nearly: the scales have a scale of their own.",
            ),
            Mistake(
                "only what is added",
                lambda a: close(a, 8 / BLOCK + 32 / (BLOCK * NESTED), within=0.0005),
                "that is the price of the scales. The weight itself has a code too.",
            ),
            Mistake(
                "second level not shared by the weights of a block",
                lambda a: close(a, 4 + 8 / BLOCK + 32 / NESTED, within=0.0005),
                "how many weights share the number of the second level? It serves "
                "many scales, and each scale a whole block.",
            ),
        ),
    ),
    "04.2": Exercise(
        expected="a function of packed, absmax, levels and block",
        right=lambda a: _restores(a, _right),
        praise="This, fused into the matrix product, is what bitsandbytes' kernels "
        "do at every forward pass.",
        hint="unpack the codes, look up their levels, give each its block's scale. "
        "The result has two weights a byte.",
        mistakes=(
            Mistake(
                "the lower half first",
                lambda a: _restores(
                    a,
                    lambda packed, absmax, levels, block: (
                        levels[_codes(packed, first=0).long()]
                        * absmax.repeat_interleave(block)
                    ),
                ),
                "the neighbours have changed places: which half of a byte comes first?",
            ),
            Mistake(
                "all upper halves, then all lower ones",
                lambda a: _restores(
                    a,
                    lambda packed, absmax, levels, block: (
                        levels[torch.cat([packed >> 4, packed & 15]).long()]
                        * absmax.repeat_interleave(block)
                    ),
                ),
                "the two codes of a byte belong side by side: stack them, do not put "
                "one half of the codes behind the other.",
            ),
            Mistake(
                "forgot the scale",
                lambda a: _restores(
                    a, lambda p, a_, levels, b: levels[_codes(p).int()]
                ),
                "these are levels between -1 and 1. What were the weights divided by?",
            ),
            Mistake(
                "scales repeated as a whole",
                lambda a: _restores(
                    a,
                    lambda packed, absmax, levels, block: (
                        levels[_codes(packed).long()] * absmax.repeat(block)
                    ),
                ),
                "every weight gets another scale than its neighbour. A scale holds for "
                "a whole block in a row.",
            ),
            Mistake(
                "codes instead of levels",
                lambda a: _restores(
                    a, lambda p, absmax, lv, b: _codes(p) * absmax.repeat_interleave(b)
                ),
                "a code is only the number of a level: look the level up.",
            ),
        ),
    ),
    "04.3": Exercise(
        expected="a number, the share of the model's bytes",
        right=lambda a: close(a, _share(2 * TABLE * 2), within=0.003),
        praise="Models with a large vocabulary shrink less than fourfold; compare "
        "bytes, not counts.",
        hint="bytes of the linear layers, bytes of the two tables, then their share.",
        mistakes=(
            Mistake(
                "counted numbers, not bytes",
                lambda a: close(a, _share(2 * TABLE, LINEAR), within=0.003),
                "that is their share of the numbers. A number of theirs takes more "
                "bytes than one in NF4.",
            ),
            Mistake(
                "half of the two tables' bytes",
                lambda a: close(a, _share(TABLE * 2), within=0.003),
                "either one table is missing, or a byte of every number in them.",
            ),
            Mistake(
                "compared with the linear layers alone",
                lambda a: close(a, 2 * TABLE * 2 / NF4_BYTES, within=0.003),
                "a share is of the whole: the tables belong to the model too.",
            ),
            Mistake(
                "percent instead of share",
                lambda a: close(a, 100 * _share(2 * TABLE * 2), within=0.3),
                "the right idea in another unit: a share lies between 0 and 1.",
            ),
        ),
    ),
}
