"""What an exercise is, and how an answer to it is judged."""

import importlib
import operator
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

from helpers.language import localized, one_way

IN_PERCENT = "the right idea in another unit: a share lies between 0 and 1."


@dataclass(frozen=True)
class Exercise:
    """What an answer must be.

    expected: the form of an answer in words; begins with one of `FORMS`, which also
        turns the answer into the plain Python value that the predicates get.
    right: `right(answer, **values)`; values are what the notebook gave to `check`.
    praise: one sentence that adds something to a right answer.
    hint: for an answer that is wrong in no known way; never gives the answer away.
    mistakes: {hint: predicate like `right` that finds a known wrong answer}; the first
        that was made is told.
    """

    expected: str
    right: Callable[..., bool]
    praise: str
    hint: str
    mistakes: Mapping[str, Callable[..., bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.expected.startswith(tuple(FORMS)):
            known = ", ".join(FORMS)
            raise ValueError(
                f"an expected form begins with one of {known}; got {self.expected!r}"
            )


@dataclass(frozen=True)
class Number:
    """A predicate: whether an answer is this number, within a tolerance.

    value: a number, several in a tuple, or a function of the notebook's values that
        gives either.
    within: the tolerance, or a function of the value that gives it; None in `numeric`
        stands for that of the right answer.
    scale: what the value is multiplied by, its tolerance too: 100 for percent.
    """

    value: float | tuple[float, ...] | Callable[..., float | tuple[float, ...]]
    within: float | Callable[[float], float] | None = None
    scale: float = 1

    def numbers(self, **values: Any) -> list[float]:
        """The numbers themselves, where the notebook's values are these."""
        found = self.value(**values) if callable(self.value) else self.value
        several = found if isinstance(found, tuple) else (found,)
        return [self.scale * value for value in several]

    def tolerance(self, value: float) -> float:
        """How far an answer may be from one of the numbers."""
        return self.within(value) if callable(self.within) else self.scale * self.within

    def __call__(self, answer: Any, **values: Any) -> bool:
        near = (close(answer, v, self.tolerance(v)) for v in self.numbers(**values))
        return any(near)


def raises(call: Callable[[], Any], kind: type[Exception] = Exception) -> bool:
    """Whether a call ends with an error of that kind; a learner's may raise any."""
    try:
        call()
    except kind:
        return True
    return False


def numeric(
    expected: str,
    right: float | Number,
    within: float | Callable[[float], float],
    praise: str,
    hint: str,
    mistakes: Mapping[str, float | tuple[float, ...] | Callable[..., bool]],
    percent: str = "",
) -> Exercise:
    """The exercise that asks for a number, its mistakes told by the numbers they give.

    within: the tolerance of every number that brings none of its own.
    mistakes: {hint: number, several, or a predicate}.
    percent: the hint for the right answer in percent, where a share is asked for.
    """

    def predicate(wanted):
        if isinstance(wanted, Number) and wanted.within is None:
            return replace(wanted, within=within)
        return wanted if callable(wanted) else Number(wanted, within)

    known = {told: predicate(wrong) for told, wrong in mistakes.items()}
    if percent:
        known[percent] = replace(predicate(right), scale=100)
    return Exercise(expected, predicate(right), praise, hint, known)


def acts_like(rule: Callable, cases: list[tuple], same=operator.eq) -> Callable:
    """A predicate: whether an answer does to every case what a rule does.

    cases: the arguments of each call; the answer gets a copy.
    same: `same(got, wanted)` compares what the two return.
    """
    return lambda answer: all(
        same(answer(*deepcopy(case)), rule(*case)) for case in cases
    )


def number(answer: Any) -> Real:
    """The answer as a Python number; a bool is none. Raises TypeError."""
    if getattr(answer, "ndim", None) == 0:  # a scalar of numpy or torch
        answer = answer.item()
    return _only(answer, isinstance(answer, Real))


def close(answer: Any, value: Any, within: float) -> bool:
    """|answer - value| <= within, for two numbers. Raises TypeError."""
    return abs(number(answer) - number(value)) <= within


def _only(answer: Any, fits: bool) -> Any:
    """The answer, if it fits. Raises TypeError."""
    if fits and not isinstance(answer, bool):
        return answer
    raise TypeError(f"got {type(answer).__name__}")


def _collection(answer: Any) -> Any:
    return _only(answer, isinstance(answer, list | tuple | set | frozenset))


# The first words of `Exercise.expected`, and what such an answer is turned into.
FORMS = {
    "a number": number,
    "a text": lambda answer: _only(answer, isinstance(answer, str)),
    "a list": lambda answer: list(_collection(answer)),
    "a set": lambda answer: set(_collection(answer)),
    "a dictionary": lambda answer: dict(_only(answer, isinstance(answer, Mapping))),
    "a function": lambda answer: _only(answer, callable(answer)),
    "a class": lambda answer: _only(answer, isinstance(answer, type)),
    "a tensor": lambda answer: _only(answer, hasattr(answer, "shape")),
}


def check(name: str, answer: Any, **values: Any) -> None:
    """Prints whether an answer is right, and if not, a hint.

    values: names of the notebook that the exercise's predicates need.
    Raises ValueError for the name of no exercise, and for nothing else.
    """
    print(verdict(name, answer, **values))


def verdict(name: str, answer: Any, **values: Any) -> str:
    """The line that `check` prints."""
    exercise = find(name)
    tick, said = _judged(exercise, answer, values)
    head = localized("Exercise {name}: {said}", name=name, said=said)
    return one_way(f"✓ {head}" if tick else head)


def _judged(exercise: Exercise, answer: Any, values: dict) -> tuple[bool, str]:
    """(whether an answer is right, what is said about it)."""
    if answer is ...:
        return False, localized("not answered yet.")
    expected = localized(exercise.expected)
    form = next(f for f in FORMS if exercise.expected.startswith(f))
    try:
        plain = FORMS[form](answer)
    except Exception:  # a TypeError, or what a strange object raises when it is asked
        got = {"expected": expected, "got": type(answer).__name__}
        return False, localized("expected {expected}; got {got}.", **got)
    right, trouble = _ask(exercise.right, plain, values)
    if right:
        return True, localized(exercise.praise)
    for hint, predicate in exercise.mistakes.items():
        made, also = _ask(predicate, plain, values)
        if made:
            return False, localized(hint)
        trouble = trouble or also
    if trouble:
        got = {"expected": expected, "trouble": trouble}
        return False, localized("expected {expected}; checking it: {trouble}.", **got)
    return False, localized(exercise.hint)


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError, in one line."""
    parts = re.fullmatch(r"(\d\d)\.\d", name) if isinstance(name, str) else None
    if not parts:
        shown = repr(name)
        raise ValueError(
            localized('an exercise is named like "03.1", got {name}', name=shown)
        )
    module = f"helpers.exercises.lesson_{parts[1]}"
    try:
        known = importlib.import_module(module).EXERCISES
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        known = {}
    if name not in known:
        there = ", ".join(known) or localized("none in this lesson")
        known = {"name": repr(name), "there": there}
        raise ValueError(localized("no exercise {name}; there are: {there}", **known))
    return known[name]


def _ask(predicate: Callable, answer: Any, values: dict) -> tuple[bool, str]:
    """(what a predicate says, "") or, where it raises, (False, the error in a line)."""
    try:
        return bool(predicate(answer, **values)), ""
    except Exception as error:  # an answer may be anything, a function with a bug too
        said = (str(error).strip().splitlines() or [""])[0]
        return False, f"{type(error).__name__} {said}".strip()[:160].rstrip(".")
