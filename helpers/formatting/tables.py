"""Records of CSV and TSV files: a header with the names of the fields, then rows.

As RFC 4180 writes them: a field in quotes may hold the delimiter, line breaks, and
quotes written twice; such a record has the line it starts on. A header that another
delimiter parts into more fields is read with that one, and it is said.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

from helpers.formatting import lines
from helpers.formatting.lines import DataError, decode, short

MAX_LINES = 10_000  # of one CSV record: how far to look for the quote that closes it
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
OTHERS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}
QUOTING = 'expected "..." around a field that holds quotes, and each of them doubled'
SPACED = re.compile(r'\s+".*"\s*', re.DOTALL)  # the quotes would be part of the field

csv.field_size_limit(lines.MAX_RECORD)  # Python's own limit is 128 KiB a field


def iter_table(path, numbered, delimiter: str, say: Callable) -> Iterator[tuple]:
    """(line, record) of a table, its fields named by the header.

    numbered: of `lines.iter_lines`. delimiter: the one that the file's suffix names.
    """
    delimiter, numbered = _delimiter(path, numbered, delimiter, say)
    header = None
    for number, fields in _rows(numbered, delimiter):
        if header is None and fields is not None:
            header = fields
            if isinstance(fields, list):
                header = [name.strip() for name in fields]
                while header and not header[-1]:  # as Excel writes empty columns
                    header.pop()
                continue
            yield number, fields  # a header that cannot be read
        else:
            yield number, _named(header, fields)


def unique(pairs: list) -> dict:
    """An object; of a key that stands in it twice, Python would drop the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"the key {short(twice)} stands there twice, expected it once")
    return found


def _delimiter(path, numbered, usual: str, say: Callable) -> tuple:
    """(what parts the fields of the first line, the lines still to be read)."""
    passed = []
    for number, raw in numbered:
        passed.append((number, raw))
        line = (raw or b"").decode("utf-8", "ignore").strip()
        if line[:4].lower() == "sep=" and len(line) == 5:  # how Excel names it
            say(f"{path}: fields are parted by {OTHERS.get(line[4], line[4])}")
            return line[4], chain(passed[:-1], numbered)
        if line:
            counts = {d: _count(line, d) for d in OTHERS}
            found = max(OTHERS, key=lambda d: (counts[d], d == usual))
            if counts[found] > counts[usual]:
                what = f"{OTHERS[found]}, not by {OTHERS[usual]}"
                say(f"{path}: fields are parted by {what}")
                usual = found
            break
    return usual, chain(passed, numbered)


def _count(line: str, delimiter: str) -> int:
    """How many fields a header has, parted so; 0 where that cannot be."""
    try:
        return len(next(csv.reader([line], delimiter=delimiter)))
    except csv.Error:
        return 0


def _named(header, fields):
    """A record of the fields of a row; what is no row stays as it is."""
    if not isinstance(fields, list):
        return fields
    if not isinstance(header, list):
        return DataError("no names for its fields, expected a header that can be read")
    if not any(field.strip() for field in fields[len(header) :]):
        fields = fields[: len(header)]
    if len(fields) != len(header):
        names = ", ".join(header)
        return DataError(f"{len(fields)} field(s), expected {len(header)} ({names})")
    try:
        return unique(list(zip(header, fields, strict=True)))
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
    if '"' in text and any(map(SPACED.fullmatch, fields)):
        meant = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True))
        pairs = zip(fields, meant, strict=False)
        if any(field != other for field, other in pairs if SPACED.fullmatch(field)):
            raise DataError(f"a space stands before a quote, {QUOTING}, and no space")
    return fields if any(field.strip() for field in fields) else None
