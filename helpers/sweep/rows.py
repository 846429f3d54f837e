"""Rows of measurements that survive an interruption, and a budget of minutes.

A benchmark is a list of parts, the most important first; a part is a list of rows that
share what is dear, a loaded model. Each row is written as soon as it is measured, and
one that the file holds already is not measured again.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from helpers import UserError
from helpers.course import machine
from helpers.environment import versions
from helpers.files import write_json


class Budget:
    """So many minutes from now on. clock: seconds, for tests."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
        self.clock, self.end = clock, clock() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - self.clock()


@dataclass
class Part:
    """Rows that are measured together.

    name: of the benchmark, and of its file. rows: {what is measured: its value}, each.
    measure: yields, for a list of such rows, what was found of each, in their order.
    seconds, first: what a row may take, and what comes before the first one.
    about: what the file says of them all.
    """

    name: str
    rows: list[dict]
    measure: Callable[[list[dict]], Iterator[dict]]
    seconds: float
    first: float = 0.0
    about: dict = field(default_factory=dict)


class RowFile:
    """The file of a benchmark on this machine: NAME.MACHINE.json, with its rows."""

    def __init__(self, name: str, folder: Path) -> None:
        here = machine()
        self.path = folder / f"{name}.{here['name']}.json"
        now = versions()
        self.entry = {"machine": here, "versions": now, "found": [], "rows": []}
        if self.path.exists():
            self.entry = self._read()
        newer = dict(now.items() - self.entry.get("versions", {}).items())
        self.newer = {"versions": newer} if newer else {}  # of rows from now on

    def _read(self) -> dict:
        """What the file holds. Raises UserError where it is damaged."""
        try:
            entry = json.loads(self.path.read_text(encoding="utf-8"))
            return entry | {"rows": [dict(row) for row in entry["rows"]]}
        except (OSError, ValueError, LookupError, TypeError):
            rule = "must be JSON with a list of rows: restore it, or delete it"
            raise UserError(f"{self.path} {rule}") from None

    def missing(self, rows: list[dict]) -> list[dict]:
        """Those rows that the file does not hold; last, those that failed before."""
        there = self.entry["rows"]
        known = [[t for t in there if self.same(row, t)] for row in rows]
        pairs = list(zip(rows, known, strict=True))
        failed = [any(isinstance(t.get("error"), str) for t in them) for them in known]
        again = [row for row, twice in zip(rows, failed, strict=True) if twice]
        return [row for row, found in pairs if not found] + again

    def same(self, row: dict, there: dict) -> bool:
        """Whether a row of the file was measured with these settings, and no other."""
        results = self.entry.get("found")
        if results is None:  # an older file: settings come first
            return dict(list(there.items())[: len(row)]) == row
        return {n: v for n, v in there.items() if n in row or n not in results} == row

    def add(self, row: dict, found: dict) -> dict:
        """Writes a row with what was found, in place of an older one; returns it."""
        there = self._read() if self.path.exists() else self.entry  # others write, too
        if "found" in there:
            names = found.keys() - row.keys()
            self.entry["found"] = sorted(names.union(there["found"]))
        kept = [r for r in there["rows"] if not self.same(row, r)]
        self.entry["rows"] = [*kept, row | found]
        write_json(self.path, self.entry)
        return row | found


def measure(parts: list[Part], folder: Path, budget: Budget) -> int:
    """Measures what is missing and fits into the budget; how many rows are left.

    A row that fails is kept with its error, and ends its part; the next part goes on.
    """
    left = 0
    for part in parts:
        file = RowFile(part.name, folder)
        rows = file.missing(part.rows)
        left += len(rows) - len(list(measured(part, file, rows, budget)))
    return left


def measured(part: Part, file: RowFile, rows: list[dict], budget: Budget) -> Iterator:
    """Writes, prints and yields rows of one part, as long as the next one fits."""
    needed, results = part.first + part.seconds, None
    for row in tqdm(rows, part.name, unit="row", disable=None):  # no bar in a file
        if needed > budget.left:
            what = f"the next row needs {needed:.0f} s, {budget.left:.0f} s are left"
            say(f"{part.name}: stopped, {what}")
            return
        start = budget.left
        try:
            if results is None:
                file.entry |= part.about
                results = part.measure(rows)
            found = file.add(row, file.newer | next(results))
        except Exception as error:  # of any library, and the card's time is dear
            what = f"{type(error).__name__}: {error}"[:500]
            say(json.dumps(file.add(row, {"error": what})))
            return
        say(json.dumps(found))
        yield found
        needed = max(part.seconds, start - budget.left)


def say(text: str) -> None:
    """Prints a line at once, above a progress bar."""
    tqdm.write(text)
    sys.stdout.flush()
