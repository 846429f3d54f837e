"""Check the answers to a lesson's exercises: a tick, or a hint that fits the mistake.

    from helpers import exercises
    exercises.check("03.1", answer)

The exercises of lesson NN stand in `lesson_NN.py`, in a dictionary
`EXERCISES` of `{"NN.1": Exercise(...), ...}`.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: `made(answer, **values)` finds it, the hint leads on."""

    name: str
    made: Callable
    hint: str


@dataclass(frozen=True)
class Exercise:
    """What an answer must be.

    expected: the form of an answer in words; begins with one of `FORMS`, which also
        turns the answer into the plain Python value that the predicates get.
    right: `right(answer, **values)`; values are what the notebook gave to `check`.
    praise: one sentence that adds something to a right answer.
    hint: for an answer that is wrong in no known way; never gives the answer away.
    mistakes: the first that was made is told.
    """

    expected: str
    right: Callable
    praise: str
    hint: str
    mistakes: tuple[Mistake, ...] = ()

    def __post_init__(self):
        if not self.expected.startswith(tuple(FORMS)):
            known = ", ".join(FORMS)
            raise ValueError(
                f"an expected form begins with one of {known}; got {self.expected!r}"
            )


def number(answer):
    """The answer as a Python number; a bool is none. Raises TypeError."""
    if getattr(answer, "ndim", None) == 0:  # a scalar of numpy or torch
        answer = answer.item()
    return _only(answer, Real)


def close(answer, value, within) -> bool:
    """|answer - value| <= within, for two numbers. Raises TypeError."""
    return abs(number(answer) - number(value)) <= within


def _only(answer, *types, convert=None):
    if isinstance(answer, types) and not isinstance(answer, bool):
        return convert(answer) if convert else answer
    raise TypeError(f"got {type(answer).__name__}")


def _function(answer):
    if callable(answer):
        return answer
    raise TypeError


def _shaped(answer):
    if hasattr(answer, "shape"):
        return answer
    raise TypeError


# The first words of `Exercise.expected`, and what such an answer is turned into.
FORMS = {
    "a number": number,
    "a text": lambda answer: _only(answer, str),
    "a list": lambda answer: _only(answer, list, tuple, set, frozenset, convert=list),
    "a set": lambda answer: _only(answer, list, tuple, set, frozenset, convert=set),
    "a dictionary": lambda answer: _only(answer, Mapping, convert=dict),
    "a function": _function,
    "a class": lambda answer: _only(answer, type),
    "a tensor": _shaped,
}


def check(name: str, answer, **values) -> None:
    """Prints whether an answer is right, and if not, a hint.

    values: names of the notebook that the exercise's predicates need.
    Raises ValueError for the name of no exercise, and for nothing else.
    """
    print(verdict(name, answer, **values))


def verdict(name: str, answer, **values) -> str:
    """The line that `check` prints."""
    exercise = find(name)
    if answer is ...:
        return f"Exercise {name}: not answered yet."
    form = next(f for f in FORMS if exercise.expected.startswith(f))
    try:
        plain = FORMS[form](answer)
    except Exception:  # a TypeError, or what a strange object raises when it is asked
        got = type(answer).__name__
        return f"Exercise {name}: expected {exercise.expected}; got {got}."
    right, trouble = _ask(exercise.right, plain, values)
    if right:
        return f"✓ Exercise {name}: {exercise.praise}"
    for mistake in exercise.mistakes:
        made, also = _ask(mistake.made, plain, values)
        if made:
            return f"Exercise {name}: {mistake.hint}"
        trouble = trouble or also
    if trouble:
        return f"Exercise {name}: expected {exercise.expected}; checking it: {trouble}."
    return f"Exercise {name}: {exercise.hint}"


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError, in one line."""
    parts = re.fullmatch(r"(\d\d)\.\d", name) if isinstance(name, str) else None
    if not parts:
        raise ValueError(f'an exercise is named like "03.1", got {name!r}')
    module = f"helpers.exercises.lesson_{parts[1]}"
    try:
        known = importlib.import_module(module).EXERCISES
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        known = {}
    if name not in known:
        there = ", ".join(known) or "none in this lesson"
        raise ValueError(f"no exercise {name!r}; there are: {there}")
    return known[name]


def _ask(predicate, answer, values) -> tuple[bool, str]:
    """(what a predicate says, "") or, where it raises, (False, the error in a line)."""
    try:
        return bool(predicate(answer, **values)), ""
    except Exception as error:  # an answer may be anything, a function with a bug too
        said = (str(error).strip().splitlines() or [""])[0]
        return False, f"{type(error).__name__} {said}".strip()[:160].rstrip(".")
