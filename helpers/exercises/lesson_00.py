"""The checks of lesson 00's exercises."""

import json

from helpers.exercises.checking import Exercise, Mistake, close

NO_OBJECTS = ("null", "[]", "12", '"queue"')  # valid JSON
RIGHT_LINE = json.dumps(
    {"queue": "REP", "priority": "P1", "order": None, "item": "mug"}
)


def _count(answer, given, line=RIGHT_LINE):
    """What the learner's function makes of an answer; an error counts as None."""
    try:
        return answer(line, given if isinstance(given, str) else json.dumps(given))
    except Exception:  # the learner's function may fail in any way
        return None


def _counts_fields(answer):
    whole = json.loads(RIGHT_LINE)
    given = [
        (whole, 4),
        (whole | {"priority": "P2"}, 3),
        ({"queue": "REP", "item": "mug"}, 2),
        (whole | {"order": "null"}, 3),
        ("The mug is broken.", 0),
        *((text, 0) for text in NO_OBJECTS),
    ]
    return all(close(_count(answer, text), count, within=0) for text, count in given)


EXERCISES = {
    "00.1": Exercise(
        expected="a number, the share of the training messages",
        right=lambda a: close(a, 100 * 4 / 2000, within=0.001),
        praise="So four messages in five were never shown to the model: a fifth of one "
        "pass, an epoch, was enough for what you saw.",
        hint="How many messages do 100 updates read together, and what part is that of "
        "all training messages?",
        mistakes=(
            Mistake(
                "percent instead of share",
                lambda a: close(a, 100 * 100 * 4 / 2000, within=0.1),
                "the right idea in another unit: a share lies between 0 and 1.",
            ),
            Mistake(
                "updates counted as messages",
                lambda a: close(a, 100 / 2000, within=0.001),
                "an update reads a whole batch of messages, not one.",
            ),
            Mistake(
                "fraction upside down",
                lambda a: close(a, 2000 / (100 * 4), within=0.01),
                "that says how many such runs one pass over the data takes; "
                "the question is the other way round.",
            ),
            Mistake(
                "number of messages",
                lambda a: close(a, 100 * 4, within=0),
                "that is how many messages were read; what share of all is it?",
            ),
        ),
    ),
    "00.2": Exercise(
        expected="a function of two texts that returns a number",
        right=_counts_fields,
        praise="With these cases right your scorer agrees with `helpers.evaluation`, "
        "which made the table above.",
        hint="try your function on a right answer, on one with a wrong code, and on "
        "one that is valid JSON but not an object.",
        mistakes=(
            Mistake(
                "compares the texts",
                lambda a: not _count(a, json.loads(RIGHT_LINE) | {"priority": "P2"}),
                "an answer with one wrong field got no point or an error. Read both "
                "texts with json.loads and compare field by field.",
            ),
            Mistake(
                "fails on what is not JSON",
                lambda a: _count(a, "The mug is broken.") is None,
                "the base model answers in prose, and there your function gave no "
                "number. A scorer must survive any answer.",
            ),
            Mistake(
                "missing key counts as null",
                lambda a: close(_count(a, {"queue": "REP", "item": "mug"}), 3, 0),
                "an answer without the key `order` got a point for it. What does "
                ".get return for a missing key, and what is the expected value?",
            ),
            Mistake(
                "share instead of count",
                lambda a: close(_count(a, json.loads(RIGHT_LINE)), 1, within=0),
                "a fully right answer of four fields gave 1. Count the fields.",
            ),
            Mistake(
                "fails on JSON that is no object",
                lambda a: None in [_count(a, text) for text in NO_OBJECTS],
                "valid JSON need not be an object: on null, 12 or a list your "
                "function failed.",
            ),
        ),
    ),
    "00.3": Exercise(
        expected="a number of messages",
        right=lambda a: close(a, 1.96**2 * 0.9 * 0.1 / 0.01**2, within=10),
        praise="Nearly nine times this lesson's test set: a third of the width costs "
        "nine times the rows, so small differences between models are expensive.",
        hint="set the formula equal to the half-width wanted and solve it for n.",
        mistakes=(
            Mistake(
                "forgot the square root",
                lambda a: (
                    close(a, 1.96 * 0.9 * 0.1 / 0.01, within=1)
                    or close(a, 400 * 2.94, within=10)
                ),
                "the width falls with the square root of n, not with n itself.",
            ),
            Mistake(
                "points taken as units",
                lambda a: 0 < a < 1,
                "less than one message? One point is 0.01 when p is a share.",
            ),
            Mistake(
                "half of the half-width",
                lambda a: close(a, 1.96**2 * 0.9 * 0.1 / 0.005**2, within=40),
                "that gives half a point on either side; one point on either side "
                "is wanted.",
            ),
            Mistake(
                "left out 1.96",
                lambda a: close(a, 0.9 * 0.1 / 0.01**2, within=10),
                "that is one standard error. A 95 % interval reaches 1.96 of them "
                "to either side.",
            ),
        ),
    ),
}
