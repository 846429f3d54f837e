"""Wrong answers to lesson 00's exercises, by the mistake each makes."""

# A scorer with all its parts; each mistake below changes one.
SCORER = """
import json

def answer(expected, given):
    try:
        got = json.loads(given)
    except ValueError:
        return 0
    if not isinstance(got, dict):
        return 0
    wanted = json.loads(expected)
    return sum(key in got and got[key] == wanted[key] for key in wanted)
"""


def _scorer(old, new):
    assert old in SCORER
    return SCORER.replace(old, new)


WRONG = {
    "00.2": {
        "compares the texts": "answer = lambda line, given: 4 * (line == given)",
        "fails on what is not JSON": _scorer("except ValueError", "except KeyError"),
        "missing key counts as null": _scorer(
            "key in got and got[key] ==", "got.get(key) =="
        ),
        "share instead of count": f"{SCORER}\ncount = answer\n"
        "answer = lambda expected, given: count(expected, given) / 4",
        "fails on JSON that is no object": _scorer(
            "not isinstance(got, dict)", "not got"
        ),
    },
    "00.3": {"points taken as units": "answer = 1.96**2 * 0.9 * 0.1 / 1**2"},
}
