"""The checks of lesson 05's exercises."""

import json

from helpers.exercises.checking import IN_PERCENT, Exercise, Number, numeric, raises

ROWS = 100
BOUND = 1 - 0.05 ** (1 / ROWS)
EXPECTED = json.dumps({"queue": "QWZ", "order": None, "item": "lamp"})
SAME = [
    EXPECTED,
    json.dumps(json.loads(EXPECTED), indent=2),
    '{"item": "lamp","order":null, "queue":"QWZ"}',
]
NO_JSON = ["", "QWZ", EXPECTED[:-1], f"Sure! {EXPECTED}"]
NO_OBJECT = ["null", "[]", "7"]
MISSING = ['{"queue": "QWZ", "item": "lamp"}', "{}"]
ADDED = [EXPECTED[:-1] + ', "note": "urgent"}']
WRONG = [EXPECTED.replace("QWZ", "JXW"), EXPECTED.replace("null", '"null"')]


def _says(answer, texts: list[str], verdict: bool) -> bool:
    """Whether a function gives that verdict on every text."""
    return all(bool(answer(EXPECTED, text)) is verdict for text in texts)


def _same_object(answer) -> bool:
    refused = NO_JSON + NO_OBJECT + MISSING + ADDED + WRONG
    return _says(answer, SAME, True) and _says(answer, refused, False)


def _needed(deviation: float, half: float = 0.02, factor: float = 1.96) -> float:
    """Rows for an interval of that half-width."""
    return (factor * deviation / half) ** 2


EXERCISES = {
    "05.1": numeric(
        "a number, the share of the messages",
        right=BOUND,
        within=0.0006,
        praise="Say 'under three per cent' instead of 'zero': that is what the rows "
        "can support.",
        hint="with a true share p, one row has no hit with probability 1 - p. What is "
        "the probability of none in all rows?",
        percent=IN_PERCENT,
        mistakes={
            "a model that is right now and then may miss them all by bad luck. "
            "How often would that happen?": Number(0, within=0),
            "no division: the rows fail together with a probability that is a power.": (
                Number(0.05 / ROWS, within=0.000005)
            ),
            "that is the share of messages that are still answered wrongly.": 1 - BOUND,
            "at that share no hit is quite usual. It should be as rare as one in "
            "twenty.": Number(1 - 0.95 ** (1 / ROWS), within=0.000005),
        },
    ),
    "05.2": Exercise(
        "a function of the expected line and the answer",
        right=_same_object,
        praise="Decide what counts as right before you see the results, and write it "
        "down in code.",
        hint="it should be true for the same object in other white space or key order, "
        "and false for anything else; try a few texts.",
        mistakes={
            "an answer may be any text, also no JSON at all. That is a wrong "
            "answer, not an error.": (
                lambda a: raises(lambda: _says(a, NO_JSON, False), ValueError)
            ),
            "the same object in another key order or with other white space "
            "should count.": (
                lambda a: _says(a, SAME[:1], True) and not _says(a, SAME, True)
            ),
            "an answer that lacks a key whose value should be null passes. The key "
            "must be there.": lambda a: bool(a(EXPECTED, MISSING[0])),
            "an answer with a key too many passes. Compare in both directions.": (
                lambda a: bool(a(EXPECTED, ADDED[0]))
            ),
        },
    ),
    "05.3": numeric(
        "a number of messages",
        right=Number(lambda differences: _needed(differences.std())),
        # Rounding up to whole rows, or n - 1 in the deviation, is as right.
        within=lambda rows: 0.01 * rows,
        praise="Reckon this before you label: it is the cheapest evaluation there is.",
        hint="set the half-width to 0.02 and solve for n; s is the standard deviation "
        "of `differences`.",
        mistakes={
            "that is the root of n. The width falls with the root of the rows.": Number(
                lambda differences: _needed(differences.std()) ** 0.5
            ),
            "0.02 is what the interval reaches to either side, not its whole "
            "width.": Number(lambda differences: _needed(differences.std(), half=0.01)),
            "that interval would hold the truth two times out of three. For 95 % "
            "it reaches further than one standard error.": Number(
                lambda differences: _needed(differences.std(), factor=1)
            ),
            "the formula asks for the standard deviation; that is the variance.": (
                Number(lambda differences: _needed(differences.var()))
            ),
        },
    ),
}
