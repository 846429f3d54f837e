"""From files to examples that are known to be chats; every error names its line.

`readers` takes JSON Lines, CSV and TSV apart, `chats` turns an example of any known
format into messages; both meet here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from helpers.formatting.chats import to_messages
from helpers.formatting.lines import DataError
from helpers.formatting.readers import iter_records

NO_EXAMPLE = "no example, expected one JSON object a line, or a header and one row"
ERRORS_KEPT = 20


@dataclass
class Report:
    """What `check_file` found. read + refused + blank = all records of the file.

    errors: "path:line: what is wrong, what was expected", the first ERRORS_KEPT; one
        more where the file itself cannot be read or holds no example.
    """

    path: Path
    read: int = 0
    refused: int = 0
    blank: int = 0
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"{self.read:,} read, {self.refused:,} refused, {self.blank:,} blank"
        return "\n".join([f"{self.path}: {counts}", *self.errors])


def iter_examples(path, progress: bool = False) -> Iterator[dict]:
    """Yields the examples of a file, as they stand there, each known to be well formed.

    path: JSON Lines, or `.csv`, `.tsv`. Reads as it yields: memory does not grow with
        the file. progress: show a bar over the bytes of the file.
    Raises DataError for the first bad record, or for a file that is missing or empty.
    """
    return (example for _, example in iter_numbered(path, progress))


def read_examples(path) -> list[dict]:
    """The list of what `iter_examples` yields. Raises DataError."""
    return list(iter_examples(path))


def iter_numbered(path, progress: bool = False) -> Iterator[tuple[int, dict]]:
    """As `iter_examples`, each with its line, from 1. Blank lines are passed over."""
    found = False
    for number, record in _iter_checked(path, progress):
        if isinstance(record, DataError):
            raise DataError(f"{path}:{number}: {record}")
        if record is not None:
            found = True
            yield number, record
    if not found:
        raise DataError(f"{path}:1: {NO_EXAMPLE}")


def check_file(path, progress: bool = False) -> Report:
    """Reads, converts and checks a whole file in one pass. Raises nothing.

    progress: show a bar over the bytes of the file.
    """
    report = Report(Path(path))
    try:
        for number, record in _iter_checked(path, progress):
            if isinstance(record, DataError):
                report.refused += 1
                if report.refused <= ERRORS_KEPT:
                    report.errors.append(f"{path}:{number}: {record}")
            else:
                report.read += record is not None
                report.blank += record is None
    except DataError as error:
        report.errors.append(str(error))
    if not report.read and not report.errors:
        report.errors.append(f"{path}:1: {NO_EXAMPLE}")
    return report


def find_repeats(path) -> list[tuple[int, int]]:
    """(first line, later line) of every prompt that a file holds more than once.

    Prompts are the same that differ in white space only. Raises DataError.
    """
    first, repeats = {}, []
    for line, example in iter_numbered(path):
        if (earlier := first.setdefault(prompt_key(example), line)) != line:
            repeats.append((earlier, line))
    return repeats


def _iter_checked(path, progress: bool) -> Iterator[tuple]:
    """As `readers.iter_records`, with a DataError also for what is no chat."""
    for number, record in iter_records(path, progress):
        if isinstance(record, dict):
            try:
                to_messages(record)
            except DataError as error:
                record = error
        yield number, record


def prompt_key(example: dict) -> tuple:
    """What makes two prompts the same: roles, and texts but for their white space."""
    prompt = to_messages(example)[:-1]
    return tuple((m["role"], " ".join(m["content"].split())) for m in prompt)
