"""Records of JSON Lines, CSV and TSV files: one at a time, each with its line.

JSON Lines has one object a line. CSV and TSV have a header line with the names of the
fields, then records as RFC 4180 writes them: a field in quotes may hold the delimiter,
line breaks, and quotes written twice; such a record has the line it starts on.

No file is held in memory as a whole: `lines.MAX_RECORD` bytes of it at most.
"""

import csv
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from helpers.formatting import lines
from helpers.formatting.lines import DataError, decode, short

MAX_LINES = 10_000  # of one CSV record: how far to look for the quote that closes it
DELIMITERS = {".csv": ",", ".tsv": "\t"}
ONE_OBJECT = "expected one JSON object a line"
AS_LINES = (
    "a JSON list starts here, " + ONE_OBJECT + ': `load_dataset("json", '
    'data_files=FILE)["train"].to_json("data.jsonl")` writes a list so'
)
QUOTING = 'expected "..." around a field that holds quotes, and each of them doubled'

csv.field_size_limit(lines.MAX_RECORD)  # Python's own limit is 128 KiB a field


def iter_records(path, progress: bool = False) -> Iterator[tuple]:
    """Yields (line, record) for every record of a file; lines count from 1.

    A record is a dict; or None where the line is blank (in CSV and TSV: where all
    fields are); or a DataError, without path and line, where it is neither. The header
    of a CSV or TSV file is no record, unless it cannot be read.
    path: `.csv` and `.tsv` are read as such, all else as JSON Lines, in UTF-8.
    progress: show a bar over the bytes of the file.
    Raises DataError where the file itself cannot be read.
    """
    path = Path(path)
    delimiter = DELIMITERS.get(path.suffix.lower())
    numbered = lines.iter_lines(path, progress)
    return _table(numbered, delimiter) if delimiter else _json_lines(numbered)


def _json_lines(numbered) -> Iterator[tuple]:
    """(line, record) of JSON Lines."""
    for number, raw in numbered:
        try:
            record = _parse(raw) if raw is None or raw.strip() else None
        except DataError as error:
            is_list = number == 1 and raw is not None and raw.lstrip()[:1] == b"["
            record = DataError(AS_LINES) if is_list else error
        yield number, record


def _parse(raw: bytes | None) -> dict:
    """The JSON object of one line."""
    try:
        record = json.loads(
            decode(raw).rstrip(), object_pairs_hook=_object, parse_constant=_refuse
        )
    except json.JSONDecodeError as error:
        why = f"{error.msg.removesuffix(' at')} at column {error.colno}"
        raise DataError(f"not JSON ({why}), {ONE_OBJECT}") from None
    except DataError:
        raise
    except (ValueError, RecursionError):  # over 4,300 digits, thousands of brackets
        raise DataError(f"JSON that Python cannot hold, {ONE_OBJECT}") from None
    if not isinstance(record, dict):
        raise DataError(f"{short(record)} is not an object, {ONE_OBJECT}")
    return record


def _object(pairs: list) -> dict:
    """An object; of a key that stands in it twice, Python would drop the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"the key {short(twice)} stands there twice, expected it once")
    return found


def _refuse(name: str):
    """Raises DataError for a constant that only Python's parser knows."""
    raise DataError(f"{name} is not JSON, {ONE_OBJECT}")


def _table(numbered, delimiter: str) -> Iterator[tuple]:
    """(line, record) of CSV or TSV, its fields named by the header."""
    header = None
    for number, fields in _rows(numbered, delimiter):
        if header is None and fields is not None:
            header = fields
            if isinstance(fields, list):
                header = [name.strip() for name in fields]
                continue
            yield number, fields  # a header that cannot be read
        else:
            yield number, _named(header, fields)


def _named(header, fields):
    """A record of the fields of a row; what is no row stays as it is."""
    if not isinstance(fields, list):
        return fields
    if not isinstance(header, list):
        return DataError("no names for its fields, expected a header that can be read")
    if len(fields) != len(header):
        names = ", ".join(header)
        return DataError(f"{len(fields)} field(s), expected {len(header)} ({names})")
    try:
        return _object(list(zip(header, fields, strict=True)))
    except DataError as error:
        return DataError(f"in the header, {error}")


def _rows(numbered, delimiter: str) -> Iterator[tuple]:
    """(line, fields) of every record; None or a DataError as in `iter_records`."""
    ahead = deque()  # lines that were read in search of a closing quote
    while (first := _next(ahead, numbered)) is not None:
        group = _quoted(first, ahead, numbered)
        try:
            fields = _split(group, delimiter)
        except csv.Error:
            fields = DataError(f"a quote is out of place, {QUOTING}")
            ahead.extendleft(reversed(group[1:]))  # each may be a record of its own
        except DataError as error:
            fields = error
        yield first[0], fields


def _next(ahead: deque, numbered):
    """The next (line, bytes); None at the end."""
    return ahead.popleft() if ahead else next(numbered, None)


def _quoted(first: tuple, ahead: deque, numbered) -> list[tuple]:
    """A line, and those after it as long as a quote stays open."""
    group, size, is_open = [first], 0, False
    while True:
        raw = group[-1][1] or b""
        size, is_open = size + len(raw), is_open ^ raw.count(b'"') % 2
        if not is_open or not raw or size > lines.MAX_RECORD or len(group) == MAX_LINES:
            return group
        if (more := _next(ahead, numbered)) is None:
            return group
        group.append(more)


def _split(group: list[tuple], delimiter: str) -> list[str] | None:
    """The fields of the lines of one record, None where all are blank.

    Raises csv.Error for a misplaced quote, DataError for what is no text.
    """
    raws = [raw for _, raw in group]
    raw = None if None in raws else b"".join(raws)
    if raw and raw.count(b'"') % 2:
        raise csv.Error("a quote stays open")
    text = decode(raw).removesuffix("\n").removesuffix("\r")
    fields = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    return fields if any(field.strip() for field in fields) else None
