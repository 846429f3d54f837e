"""What the checks on data look at: the words of every row, once on disk.

A row is a tree of JSON; to take each apart for each check would take most of the time.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from helpers.formatting import each, prompt_key
from helpers.preflight.registry import derived

SHOWN = 5  # lines that a finding names
AT_ONCE = 1_000  # rows in memory
KEYS = ("asked", "said")


class Row(NamedTuple):
    """A row as the checks see it.

    split, line: where it came from, "path:line" or its split and number. question: the
    texts before the answer, the system's aside, which rows often share. answer: all
    that it teaches, thinking, text and calls. asked, said: `formatting.prompt_key` of
    both. group: as in `load_splits`.
    """

    split: str
    line: str
    question: str
    answer: str
    asked: bytes
    said: bytes
    group: str | None


class Texts:
    """The rows of splits, in Arrow files; memory does not grow with them."""

    def __init__(self, splits) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.tables = {name: self._table(name, rows) for name, rows in splits.items()}

    def __len__(self) -> int:
        return sum(self.count(name) for name in self.tables)

    def count(self, name: str) -> int:
        """The rows of a split, 0 where there is none."""
        return len(self.tables.get(name, ()))

    def rows(self, *names: str) -> Iterator[Row]:
        """Yields the rows of these splits, or of all."""
        for name in names or self.tables:
            for batch in self.tables[name].to_batches(AT_ONCE):
                yield from map(Row, *batch.to_pydict().values())

    def row(self, name: str, place: int) -> Row:
        """One row of a split."""
        [values] = self.tables[name].slice(place, 1).to_pylist()
        return Row(**values)

    def at(self, number: int) -> Row:
        """One row, counted as `rows` yields them all."""
        for name, table in self.tables.items():
            if number < len(table):
                return self.row(name, number)
            number -= len(table)
        raise IndexError(number)

    def _table(self, name: str, rows):
        """Writes a split; returns it as a pyarrow.Table that stays on disk."""
        import pyarrow as pa

        kinds = dict.fromkeys(Row._fields, pa.string())
        schema = pa.schema((kinds | dict.fromkeys(KEYS, pa.binary())).items())
        path, left = Path(self.folder.name) / f"{name}.arrow", enumerate(each(rows))
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as out:
            while part := [_words(name, *pair) for pair in islice(left, AT_ONCE)]:
                out.write_batch(pa.RecordBatch.from_pylist(part, schema))
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@derived
def texts(splits) -> Texts:
    """The words of all splits."""
    return Texts(splits)


class Lines:
    """Where rows came from: how many, and the first few. str(): as a finding has it."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.count, self.first, self.where = 0, [], ""  # where: the first line
        for line in lines:
            self.add(line)

    def __len__(self) -> int:
        return self.count

    def add(self, line: str, *more: str) -> None:
        """Notes a line; or one and the line that it is held against."""
        self.count, self.where = self.count + 1, self.where or line
        if len(self.first) < SHOWN:
            self.first.append(" as ".join((line, *more)))

    def __str__(self) -> str:
        return ", ".join(self.first) + ", ..." * (self.count > SHOWN)


def _words(name: str, place: int, row: dict) -> dict:
    """A row of a split, its words alone, as a Row has them."""
    message = row["completion"][0]
    parts = [message.get("reasoning_content"), message["content"]]
    calls = message.get("tool_calls") or []
    parts += [json.dumps(call.get("function", call)) for call in calls]
    asked = (m["content"] for m in row["prompt"] if m["role"] != "system")
    return {
        "split": name,
        "line": row.get("line") or f"{name}:{place + 1}",
        "question": "\n".join(asked),
        "answer": "\n".join(part for part in parts if part),
        "asked": prompt_key(row["prompt"]),
        "said": prompt_key(row["completion"]),
        "group": row.get("group"),
    }
