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
}
