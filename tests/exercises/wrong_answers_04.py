"""Wrong answers to lesson 04's exercises, by the mistake each makes."""

import torch


def names():
    """What the lesson's cell `weights` binds and the answers use."""
    return {"torch": torch}


GIVEN = {"04.2": names}
HEAD = "def answer(packed, absmax, levels, block):\n"
CODES = "    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten().long()\n"
SCALES = "    scales = absmax.repeat_interleave(block)\n"
SIZES = "linear = 6_979_321_856 * 4.127 / 8; table = 128_256 * 4_096\n"

WRONG = {
    "04.1": {
        "scales in 32 bits": "answer = 4 + 32 / 128",
        "blocks of 64": "answer = 4 + 8 / 64 + 32 / (64 * 256)",
        "forgot the second level": "answer = 4 + 8 / 128",
        "only what is added": "answer = 8 / 128 + 32 / (128 * 256)",
        "second level not shared by the weights of a block": "answer = "
        "4 + 8 / 128 + 32 / 256",
    },
    "04.2": {
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
    "04.3": {
        "counted numbers, not bytes": "table = 2 * 128_256 * 4_096\n"
        "answer = table / (6_979_321_856 + table)",
        "half of the two tables' bytes": f"{SIZES}"
        "answer = 2 * table / (linear + 2 * table)",
        "compared with the linear layers alone": f"{SIZES}answer = 4 * table / linear",
        "percent instead of share": f"{SIZES}"
        "answer = 100 * 4 * table / (linear + 4 * table)",
    },
}
