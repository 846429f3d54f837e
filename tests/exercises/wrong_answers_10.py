"""Wrong answers to lesson 10's exercises, by the mistake each makes."""

BETA = "import math\n\n\ndef answer(beta):\n    return "
HEAD = (
    "import json\n\n\ndef answer(expected, given):\n    wanted = json.loads(expected)\n"
)
HEAD += "    try:\n        got = json.loads(given)\n"
HEAD += "    except ValueError:\n        return 0.0\n"
HEAD += "    if not isinstance(got, dict):\n        return 0.0\n"
FIELDS = "    right = sum({} for key, value in wanted.items())\n"
MISSING = HEAD + FIELDS.format("got.get(key) == value")
MISSING += "    return right / max(1, len({*wanted, *got}))"
HEAD += FIELDS.format("key in got and got[key] == value")

WRONG = {
    "10.2": {
        "a tenth": f"{BETA}math.log(9) / beta",
        "times beta": f"{BETA}math.log(19) * beta",
        "negative": f"{BETA}-math.log(19) / beta",
    },
    "10.3": {
        "of those given": f"{HEAD}    return right / max(1, len(got))",
        "of those wanted": f"{HEAD}    return right / len(wanted)",
        "missing is null": MISSING,
        "all or nothing": f"{HEAD}    return float(got == wanted)",
    },
}
