"""Wrong answers to lesson 05's exercises, by the mistake each makes."""

import numpy as np


def paired():
    """What the lesson's cell `paired` binds: 70 rows for one, 12 for the other."""
    return {"differences": np.array([1.0] * 70 + [-1.0] * 12 + [0.0] * 318)}


GIVEN = {"05.3": paired}
LOADS = "import json\n\n\ndef answer(expected, given):\n"
TRY = (
    "    try:\n        got = json.loads(given)\n    except ValueError:\n"
    "        return False\n    wanted = json.loads(expected)\n"
    "    if not isinstance(got, dict):\n        return False\n"
)

WRONG = {
    "05.1": {
        "believed the bootstrap": "answer = 0",
        "divided the level by the rows": "answer = 0.05 / 100",
        "took the share of misses": "answer = 0.05 ** (1 / 100)",
        "percent instead of share": "answer = 100 * (1 - 0.05 ** (1 / 100))",
        "solved for 95 %": "answer = 1 - 0.95 ** (1 / 100)",
    },
    "05.2": {
        "crashes on a text that is no JSON": f"{LOADS}"
        "    return json.loads(expected) == json.loads(given)",
        "compares the texts": "def answer(expected, given):\n"
        "    return expected.strip() == given.strip()",
        "takes a missing key for null": f"{LOADS}{TRY}"
        "    return all(got.get(k) == v for k, v in wanted.items())",
        "lets added keys pass": f"{LOADS}{TRY}"
        "    return all(k in got and got[k] == wanted[k] for k in wanted)",
    },
    "05.3": {
        "forgot the square": "answer = 1.96 * differences.std() / 0.02",
        "half the width": "answer = (1.96 * differences.std() / 0.01) ** 2",
        "no 1.96": "answer = (differences.std() / 0.02) ** 2",
        "variance for deviation": "answer = (1.96 * differences.var() / 0.02) ** 2",
    },
}
