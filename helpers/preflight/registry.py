"""The checks by name, and `check`, which runs those whose inputs are there.

A check is a generator of findings; the names of its parameters say what it needs, and
one with a default it can do without. What it returns is what it looked at, "2,000
rows". A derived input is made of others, once for all checks that need it.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from helpers.preflight.report import Report

# The modules that hold checks, in the order in which they run.
MODULES = (
    *("data", "looking", "repeats", "words", "lengths", "tokens", "training", "device"),
    *("answers", "adapter"),
)
LOOKED_AT = 32  # rows of a trainer, or of a split where no trainer is given
INPUTS = (  # what may be given to `check`; the brief form of each stands there
    *("splits", "tokenizer", "encoded", "model", "arguments", "adapter", "base"),
    *("answers", "profile", "memory", "lengths", "group", "refused"),
    *("qlora", "trainer"),
)


@dataclass(frozen=True)
class Check:
    """A check: its function, the codes of its findings, and what it looks at."""

    run: Callable
    codes: tuple[str, ...]
    about: str

    @property
    def name(self) -> str:
        """Its first code."""
        return self.codes[0]

    @property
    def needs(self) -> list[str]:
        """The inputs without which it does not run."""
        return _needs(self.run)


CHECKS: list[Check] = []
DERIVED: dict[str, Callable] = {}


def check_of(*codes: str, about: str) -> Callable:
    """Registers a check under the codes of its findings. about: what it looks at."""

    def register(function: Callable) -> Callable:
        CHECKS.append(Check(function, codes, about))
        return function

    return register


def derived(function: Callable) -> Callable:
    """Registers an input, by the function's name, that it makes of other inputs."""
    DERIVED[function.__name__] = function
    return function


def all_checks() -> list[Check]:
    """Every check there is, in the order of MODULES, whoever imported one before."""
    order = [f"helpers.preflight.{module}" for module in MODULES]
    for module in order:
        importlib.import_module(module)
    places = {module: place for place, module in enumerate(order)}
    return sorted(CHECKS, key=lambda one: places.get(one.run.__module__, 0))


def list_checks() -> str:
    """Every check in a Markdown table: its codes, what it looks at, what it needs."""
    rows = [("finding", "looks at", "needs"), ("---",) * 3]
    for one in all_checks():
        needs = dict.fromkeys(n for need in one.needs for n in _lacking(need, {}))
        codes = ", ".join(f"`{code}`" for code in one.codes)
        rows.append((codes, one.about, ", ".join(needs)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def check(*, only=None, skip=(), **inputs) -> Report:
    """The report of every check whose inputs are given.

    only: names of checks, to run no others; skip: not to run these. splits: of
        `formatting.load_splits`, with lines=True for their lines. tokenizer. encoded:
        rows as they are trained, each with input_ids and labels. model: a live one,
        with or without adapter.
    arguments: SFTConfig or TrainingArguments. adapter: a folder. base: of the adapter:
        a folder, a Hub id, or a live model. answers: the inputs of a generation.
    profile: a Profile; with qlora=True its 4-bit model. memory: GiB of the device.
    trainer: its model, arguments, tokenizer and first batch, where they are not given.
    group: a column that tells whole sources apart. lengths: of each split. refused:
        what reading refused, "path:line: why". What is None counts as not given.
    Raises TypeError for an input that no check knows.
    """
    if unknown := inputs.keys() - {*INPUTS}:
        raise TypeError(f"no check takes {unknown.pop()!r}: known are {INPUTS}")
    given = {name: value for name, value in inputs.items() if value is not None}
    if "trainer" in given:
        given = trainer_parts(given.pop("trainer")) | given
    report = Report()
    for one in all_checks():
        if one.name in skip or only is not None and one.name not in only:
            continue
        if lacking := [n for need in one.needs for n in _lacking(need, given)]:
            report.not_run[one.name] = list(dict.fromkeys(lacking))
            continue
        _run(one, given, report)
    return report


def trainer_parts(trainer) -> dict:
    """The inputs of `check` that a trainer holds, and its rows as it collates them.

    The trainer itself, and rows, only where rows have labels: those of DPO have not.
    """
    found = {"model": trainer.model, "arguments": trainer.args}
    found["tokenizer"] = trainer.processing_class
    if hasattr(trainer.train_dataset, "__len__"):
        few = range(min(LOOKED_AT, len(trainer.train_dataset)))
        batch = trainer.data_collator([trainer.train_dataset[place] for place in few])
        if "input_ids" in batch and "labels" in batch:
            found |= {"encoded": batch, "trainer": trainer}
    return {name: value for name, value in found.items() if value is not None}


def _run(one: Check, given: dict, report: Report) -> None:
    """Runs one check, and notes what it found and looked at."""
    parts = _parts(one.run, given)
    if lacking := [name for name in one.needs if parts[name] is None]:
        report.not_run[one.name] = lacking
        return
    steps = one.run(**parts)
    while True:
        try:
            finding = next(steps)
        except StopIteration as end:
            report.checked[one.name] = end.value or ""
            return
        assert finding.code in one.codes, f"{one.name} has no code {finding.code}"
        report.findings.append(finding)


def _parts(function: Callable, given: dict) -> dict:
    """What can be had of a function's parameters."""
    names = inspect.signature(function).parameters
    return {n: _made(n, given) for n in names if not _lacking(n, given)}


def _needs(function: Callable) -> list[str]:
    """The parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty]


def _lacking(name: str, given: dict) -> list[str]:
    """The inputs that are missing to have one of this name."""
    if name in given:
        return []
    if name not in DERIVED:
        return [name]
    return [n for need in _needs(DERIVED[name]) for n in _lacking(need, given)]


def _made(name: str, given: dict):
    """An input as it was given, or made of others and kept."""
    if name not in given:
        given[name] = DERIVED[name](**_parts(DERIVED[name], given))
    return given[name]
