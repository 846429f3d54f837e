"""The checks of lesson 10's exercises."""

import json
import math
from collections.abc import Callable

from helpers.exercises.checking import Exercise, acts_like, close, numeric

# Log-probabilities, in nats, of the exercise's pair: (chosen, rejected).
POLICY, REFERENCE, BETA = (-12.0, -15.0), (-10.0, -11.0), 0.1


def loss(difference: float, beta: float = BETA) -> float:
    """DPO's loss of a pair: -ln sigmoid(beta * difference)."""
    return math.log1p(math.exp(-beta * difference))


CHOSEN, REJECTED = (p - r for p, r in zip(POLICY, REFERENCE, strict=True))
MARGIN = CHOSEN - REJECTED


def _near(rule: Callable) -> Callable:
    """A predicate: whether an answer gives what a rule does, for several betas."""
    cases = [(0.02,), (0.1,), (0.5,), (2.0,)]
    return acts_like(rule, cases, lambda got, want: close(got, want, 0.02 * abs(want)))


WANTED = {"queue": "QWZ", "priority": "VM", "order": "G4521"}
GIVEN = [
    WANTED,
    {},
    {"queue": "QWZ"},
    {"queue": "QWZ", "priority": "VM", "order": "G9999"},
    WANTED | {"item": "lamp", "from": "Vera", "note": "?"},
    {"queue": "BTX", "priority": "NR", "order": ""},
]
TEXTS = [*map(json.dumps, GIVEN), "QWZ", "", '{"queue": "QWZ"', "[]", "null"]
CASES = [(json.dumps(WANTED), text) for text in TEXTS]
ABSENT = object()
# Of a field that is null, one that is not there is not right.
NULL = {"queue": "QWZ", "order": None}
CASES += [(json.dumps(NULL), json.dumps(text)) for text in (NULL, {}, {"queue": "QWZ"})]


def marked(keys: Callable, missing=ABSENT) -> Callable:
    """The reward that divides the right fields by keys(wanted, given), a set.

    missing: what stands for a field that an answer has not.
    """

    def rule(expected: str, answer: str) -> float:
        wanted = json.loads(expected)
        try:
            got = json.loads(answer)
        except ValueError:
            got = {}
        got = got if isinstance(got, dict) else {}
        right = sum(got.get(key, missing) == value for key, value in wanted.items())
        return right / max(1, len(keys({*wanted}, {*got})))

    return rule


FAIR = marked(set.union)


def _marks(rule: Callable) -> Callable:
    """A predicate: whether an answer marks every text as a rule does."""
    return acts_like(rule, CASES, lambda got, want: close(got, want, 1e-6))


EXERCISES = {
    "10.1": numeric(
        "a number, in nats",
        right=loss(MARGIN),
        within=0.002,
        praise="It is below ln 2, though the chosen answer became less likely.",
        hint="subtract the reference from the trained model for each answer, then "
        "rejected from chosen, times beta; then the negative logarithm of the sigmoid.",
        mistakes={
            "beta is missing.": loss(MARGIN, 1),
            "the reference is missing: what counts is how far each answer moved.": (
                loss(POLICY[0] - POLICY[1])
            ),
            "that is the loss of the pair the other way round.": loss(-MARGIN),
            "nats go with the natural logarithm.": loss(MARGIN) / math.log(2),
            "that is the probability, not its negative logarithm.": (
                math.exp(-loss(MARGIN))
            ),
        },
    ),
    "10.2": Exercise(
        "a function of beta",
        right=_near(lambda beta: math.log(19) / beta),  # sigmoid(-beta * it) is 0.05
        praise="A small beta lets a pair pull until the model is far away.",
        hint="set the sigmoid of minus beta times the margin to 0.05, and solve for "
        "the margin.",
        mistakes={
            "at a margin of 0 the pull is a half, so a tenth of it is 0.05.": _near(
                lambda beta: math.log(9) / beta
            ),
            "the margin falls as beta grows: beta stands below the line.": _near(
                lambda beta: math.log(19) * beta
            ),
            "the pull falls as the margin grows, so the margin is positive.": _near(
                lambda beta: -math.log(19) / beta
            ),
        },
    ),
    "10.3": Exercise(
        "a function of expected and answer",
        right=_marks(FAIR),
        praise="Silence earns nothing, and neither does saying too much.",
        hint="count the right fields, and divide by the number of keys that the "
        "expected or the given object has. What is no JSON object gets 0.",
        mistakes={
            "one right field alone gets full marks, which a model soon finds out: "
            "divide by the keys that were wanted, too.": _marks(
                marked(lambda wanted, got: got)
            ),
            "invented fields cost nothing: count the given keys, too.": _marks(
                marked(lambda wanted, got: wanted)
            ),
            "a field that is null is not right because it is missing: does the key "
            "stand in the answer?": _marks(marked(set.union, missing=None)),
            "that is all or nothing, which a model that is never wholly right cannot "
            "learn from: give a part of the mark for a part of the fields.": _marks(
                lambda *texts: float(FAIR(*texts) == 1)
            ),
        },
    ),
}
