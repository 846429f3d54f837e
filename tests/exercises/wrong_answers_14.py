"""Wrong answers to lesson 14's exercises, by the mistake each makes."""

import torch


def names():
    """What the lesson's cell `weights` binds and the answers use."""
    return {"torch": torch}


GIVEN = {"14.2": names}
HEAD = "def answer(packed, absmax, levels, block):\n"
CODES = "    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten().long()\n"
SCALES = "    scales = absmax.repeat_interleave(block)\n"

WRONG = {
    "14.2": {
        "the lower half first": f"{HEAD}{SCALES}"
        "    codes = torch.stack([packed & 15, packed >> 4], dim=-1).flatten()\n"
        "    return levels[codes.long()] * scales",
        "all upper halves, then all lower ones": f"{HEAD}{SCALES}"
        "    codes = torch.cat([packed >> 4, packed & 15])\n"
        "    return levels[codes.long()] * scales",
        "forgot the scale": f"{HEAD}{CODES}    return levels[codes]",
        "scales repeated as a whole": f"{HEAD}{CODES}"
        "    return levels[codes] * absmax.repeat(block)",
        "codes instead of levels": f"{HEAD}{CODES}{SCALES}    return codes * scales",
    },
}
