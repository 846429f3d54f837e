"""The checks of lesson 05's exercises."""

import json

from helpers.exercises.checking import Exercise, Mistake, close

ROWS = 100
BOUND = 1 - 0.05 ** (1 / ROWS)
EXPECTED = json.dumps({"queue": "REP", "order": None, "item": "lamp"})
SAME = [
    EXPECTED,
    json.dumps(json.loads(EXPECTED), indent=2),
    '{"item": "lamp","order":null, "queue":"REP"}',
]
NO_JSON = ["", "REP", EXPECTED[:-1], f"Sure! {EXPECTED}"]
NO_OBJECT = ["null", "[]", "7"]
MISSING = ['{"queue": "REP", "item": "lamp"}', "{}"]
ADDED = [EXPECTED[:-1] + ', "note": "urgent"}']
WRONG = [EXPECTED.replace("REP", "LOG"), EXPECTED.replace("null", '"null"')]


def _says(answer, texts, verdict) -> bool:
    """Whether a function gives that verdict on every text."""
    return all(bool(answer(EXPECTED, text)) is verdict for text in texts)


def _crashes(answer) -> bool:
    """Whether a function that judges JSON fails on a text that is none."""
    try:
        _says(answer, NO_JSON, False)
    except ValueError:
        return True
    return False


def _same_object(answer) -> bool:
    refused = NO_JSON + NO_OBJECT + MISSING + ADDED + WRONG
    return _says(answer, SAME, True) and _says(answer, refused, False)


def _needed(deviation, half=0.02, factor=1.96):
    """Rows for an interval of that half-width."""
    return (factor * deviation / half) ** 2


def _near(answer, value) -> bool:
    """Within one per cent: rounding up to whole rows, or n - 1, is as right."""
    return close(answer, value, within=0.01 * abs(value))


EXERCISES = {
    "05.1": Exercise(
        expected="a number, the share of the messages",
        right=lambda a: close(a, BOUND, within=0.0006),
        praise="Say 'under three per cent' instead of 'zero': that is what the rows "
        "can support.",
        hint="with a true share p, one row has no hit with probability 1 - p. What is "
        "the probability of none in all rows?",
        mistakes=(
            Mistake(
                "believed the bootstrap",
                lambda a: close(a, 0, within=0),
                "a model that is right now and then may miss them all by bad luck. "
                "How often would that happen?",
            ),
            Mistake(
                "divided the level by the rows",
                lambda a: close(a, 0.05 / ROWS, within=0.000005),
                "no division: the rows fail together with a probability that is a "
                "power.",
            ),
            Mistake(
                "took the share of misses",
                lambda a: close(a, 1 - BOUND, within=0.0006),
                "that is the share of messages that are still answered wrongly.",
            ),
            Mistake(
                "percent instead of share",
                lambda a: close(a, 100 * BOUND, within=0.06),
                "the right idea in another unit: a share lies between 0 and 1.",
            ),
            Mistake(
                "solved for 95 %",
                lambda a: close(a, 1 - 0.95 ** (1 / ROWS), within=0.000005),
                "at that share no hit is quite usual. It should be as rare as one in "
                "twenty.",
            ),
        ),
    ),
    "05.2": Exercise(
        expected="a function of the expected line and the answer",
        right=_same_object,
        praise="Decide what counts as right before you see the results, and write it "
        "down in code.",
        hint="it should be true for the same object in other white space or key order, "
        "and false for anything else; try a few texts.",
        mistakes=(
            Mistake(
                "crashes on a text that is no JSON",
                _crashes,
                "an answer may be any text, also no JSON at all. That is a wrong "
                "answer, not an error.",
            ),
            Mistake(
                "compares the texts",
                lambda a: _says(a, SAME[:1], True) and not _says(a, SAME, True),
                "the same object in another key order or with other white space "
                "should count.",
            ),
            Mistake(
                "takes a missing key for null",
                lambda a: bool(a(EXPECTED, MISSING[0])),
                "an answer that lacks a key whose value should be null passes. The key "
                "must be there.",
            ),
            Mistake(
                "lets added keys pass",
                lambda a: bool(a(EXPECTED, ADDED[0])),
                "an answer with a key too many passes. Compare in both directions.",
            ),
        ),
    ),
    "05.3": Exercise(
        expected="a number of messages",
        right=lambda a, differences: _near(a, _needed(differences.std())),
        praise="Reckon this before you label: it is the cheapest evaluation there is.",
        hint="set the half-width to 0.02 and solve for n; s is the standard deviation "
        "of `differences`.",
        mistakes=(
            Mistake(
                "forgot the square",
                lambda a, differences: _near(a, _needed(differences.std()) ** 0.5),
                "that is the root of n. The width falls with the root of the rows.",
            ),
            Mistake(
                "half the width",
                lambda a, differences: _near(a, _needed(differences.std(), 0.01)),
                "0.02 is what the interval reaches to either side, not its whole "
                "width.",
            ),
            Mistake(
                "no 1.96",
                lambda a, differences: _near(a, _needed(differences.std(), factor=1)),
                "that interval would hold the truth two times out of three. For 95 % "
                "it reaches further than one standard error.",
            ),
            Mistake(
                "variance for deviation",
                lambda a, differences: _near(a, _needed(differences.var())),
                "the formula asks for the standard deviation; that is the variance.",
            ),
        ),
    ),
}
