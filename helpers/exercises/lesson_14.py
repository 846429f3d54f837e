"""The checks of lesson 14's exercises."""

import torch

from helpers.exercises.checking import IN_PERCENT, Exercise, acts_like, numeric


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
    "14.1": numeric(
        "a number, the share of the outermost level",
        right=1 - (1 / 14 + 1 / 16) / 2,
        within=0.0005,
        praise="The fewer the levels, the further in the outermost one stands.",
        hint="eight levels have eight equal shares, seven have seven: where is the "
        "middle of the last one, and what is the mean of the two?",
        percent=IN_PERCENT,
        mistakes={
            "that is NF4's own. How many levels has NF3?": 1 - (1 / 30 + 1 / 32) / 2,
            "a whole share from the end is the last share's edge. Where is its "
            "middle?": 1 - (1 / 7 + 1 / 8) / 2,
            "one of the two middles only: NF4 takes the mean of two.": (
                1 - 1 / 16,
                1 - 1 / 14,
            ),
        },
    ),
    "14.2": Exercise(
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
}
