"""The checks of lesson 00's exercises."""

import json
from typing import Any

from helpers.exercises.checking import IN_PERCENT, Exercise, Number, numeric

WHOLE = {"queue": "QWZ", "priority": "VM", "order": None, "item": "mug"}
ONE_WRONG = WHOLE | {"priority": "HS"}
TWO_LACK = {"queue": "QWZ", "item": "mug"}
PROSE = "The mug is broken."
NO_OBJECTS = ("null", "[]", "12", '"queue"')  # valid JSON


def _count(answer, given: Any) -> Any:
    """What the learner's function makes of an answer; an error counts as None."""
    try:
        given = given if isinstance(given, str) else json.dumps(given)
        return answer(json.dumps(WHOLE), given)
    except Exception:  # the learner's function may fail in any way
        return None


def _counts_fields(answer) -> bool:
    given = [(WHOLE, 4), (ONE_WRONG, 3), (TWO_LACK, 2), (WHOLE | {"order": "null"}, 3)]
    given += [(text, 0) for text in (PROSE, *NO_OBJECTS)]
    return all(_count(answer, text) == count for text, count in given)


EXERCISES = {
    "00.1": numeric(
        "a number, the share of the training messages",
        right=100 * 4 / 2000,
        within=0.001,
        praise="Such a run reads a fifth of one pass, an epoch: four messages in five "
        "are never shown to the model.",
        hint="How many messages do 100 updates read together, and what part is that of "
        "all training messages?",
        percent=IN_PERCENT,
        mistakes={
            "an update reads a whole batch of messages, not one.": 100 / 2000,
            "that says how many such runs one pass over the data takes; "
            "the question is the other way round.": Number(2000 / 400, within=0.01),
            "that is how many messages were read; what share of all is it?": 100 * 4,
        },
    ),
    "00.2": Exercise(
        "a function of two texts that returns a number",
        right=_counts_fields,
        praise="With these cases right your scorer agrees with `helpers.evaluation`, "
        "which made the table above.",
        hint="try your function on a right answer, on one with a wrong code, and on "
        "one that is valid JSON but not an object.",
        mistakes={
            "an answer with one wrong field got no point or an error. Read both texts "
            "with json.loads and compare field by field.": (
                lambda a: not _count(a, ONE_WRONG)
            ),
            "the base model answers in prose, and there your function gave no "
            "number. A scorer must survive any answer.": (
                lambda a: _count(a, PROSE) is None
            ),
            "an answer without the key `order` got a point for it. What does "
            ".get return for a missing key, and what is the expected value?": (
                lambda a: _count(a, TWO_LACK) == 3
            ),
            "a fully right answer of four fields gave 1. Count the fields.": (
                lambda a: _count(a, WHOLE) == 1
            ),
            "valid JSON need not be an object: on null, 12 or a list your function "
            "failed.": lambda a: None in [_count(a, text) for text in NO_OBJECTS],
        },
    ),
    "00.3": numeric(
        "a number of messages",
        right=1.96**2 * 0.9 * 0.1 / 0.01**2,
        within=10,
        praise="Nearly nine times this lesson's test set: a third of the width costs "
        "nine times the rows, so small differences between models are expensive.",
        hint="set the formula equal to the half-width wanted and solve it for n.",
        mistakes={
            "the width falls with the square root of n, not with n itself.": (
                1.96 * 0.9 * 0.1 / 0.01,
                400 * 2.94,
            ),
            "less than one message? One point is 0.01 when p is a share.": (
                lambda a: 0 < a < 1
            ),
            "that gives half a point on either side; one point on either side "
            "is wanted.": Number(1.96**2 * 0.9 * 0.1 / 0.005**2, within=40),
            "that is one standard error. A 95 % interval reaches 1.96 of them "
            "to either side.": 0.9 * 0.1 / 0.01**2,
        },
    ),
}
