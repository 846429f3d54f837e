"""Records of a file of any kind that is read: one at a time, each with its line.

Text: JSON Lines (one object a line), a JSON list, CSV and TSV (`tables`); packed with
gzip, bzip2 or xz, and in other encodings, as `opening` detects. Binary: Parquet, Arrow,
folders of `datasets`, data sets of the Hub (`columns`), each record with its row.

No text file is held in memory as a whole: `lines.MAX_RECORD` bytes of it at most.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from helpers.formatting import columns
from helpers.formatting.lines import (
    BROKEN,
    MAX_RECORD,
    DataError,
    decode,
    iter_lines,
    say,
    short,
    unreadable,
)
from helpers.formatting.opening import opened, plain_suffix
from helpers.formatting.tables import DELIMITERS, iter_table, unique

ONE_OBJECT = "expected one JSON object a line"
A_LIST = f"a JSON list starts here, {ONE_OBJECT}: in a file named .json it is read"
AN_OBJECT = f"an object over several lines starts here, {ONE_OBJECT}, or a JSON list"
CHUNK = 2**20  # bytes of a JSON list that are read at once
SCAN = json.JSONDecoder().raw_decode
BETWEEN = re.compile(r"[\s,]*")


def iter_records(path, progress: bool = False, say: Callable = say) -> Iterator[tuple]:
    """Yields (line, record) for every record of a file; lines count from 1.

    A record is a dict; or None where the line is blank (in CSV and TSV: where all
    fields are); or a DataError, without path and line, where it is neither. The header
    of a CSV or TSV file is no record, unless it cannot be read.
    path: `.csv`, `.tsv`, `.tab`, and `.txt` that is no JSON, are tables; a file that
        begins with `[` is a JSON list, unless it is named `.jsonl`; Parquet and Arrow
        are known by their first bytes; all else is JSON Lines.
    progress: show a bar over the bytes of the file. say: told what was detected.
    Raises DataError where the file itself cannot be read.
    """
    path = Path(path)
    if columns.holds(path):
        yield from columns.iter_rows(path, progress)
        return
    with opened(path, progress, say) as (stream, bar, first):
        suffix = plain_suffix(path)
        delimiter = DELIMITERS.get(suffix)
        if suffix == ".txt" and first not in ("{", "["):
            delimiter = "\t"
        if delimiter:
            numbered = iter_lines(path, stream, bar)
            yield from iter_table(path, numbered, delimiter, say)
        elif first == "[" and suffix != ".jsonl":
            yield from _json_list(path, stream, bar)
        else:
            yield from _json_lines(iter_lines(path, stream, bar))


def _json_lines(numbered) -> Iterator[tuple]:
    """(line, record) of JSON Lines."""
    for number, raw in numbered:
        try:
            record = _parse(decode(raw)) if raw is None or raw.strip() else None
        except DataError as error:
            record = error
            begins = (raw or b"").strip()[:2] if number == 1 else b""
            if begins[:1] == b"[" or begins == b"{":
                record = DataError(A_LIST if begins[:1] == b"[" else AN_OBJECT)
        yield number, record


def _json_list(path, stream, bar) -> Iterator[tuple]:
    """(line, record) of a JSON list; where it cannot be parsed on, it ends."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line, more, commas, usual = 1, True, 0, 0
    try:
        text = decoder.decode(stream.read(CHUNK))
        place = text.index("[") + 1
        line += text.count("\n", 0, place)
        while True:
            start = BETWEEN.match(text, place).end()
            line += text.count("\n", place, start)
            commas, place = commas + text.count(",", place, start), start
            if text[place : place + 1] == "]":
                if commas > usual:  # one after the last object is passed over
                    what = f"{commas} commas stand before the ]"
                    yield line, DataError(f"{what}, expected none")
                if text[place + 1 :].strip() or stream.read(CHUNK).strip():
                    yield line, DataError("more follows the list, expected its end")
                return
            end, why = _end_of_value(text, place)
            if more and end in (None, len(text)) and len(text) - place <= MAX_RECORD:
                more = bool(raw := stream.read(CHUNK))
                text, place = text[place:] + decoder.decode(raw, final=not more), 0
                bar()
                continue
            record = _listed(text[place:end], why)
            if commas != usual and not why:
                what = f"{commas} commas stand before this object"
                record = DataError(f"{what}, expected {usual}")
            yield line, record
            if end is None:
                return
            line, place = line + text.count("\n", place, end), end
            commas, usual = 0, 1
    except BROKEN as error:
        raise unreadable(path, line, error) from None


def _end_of_value(text: str, start: int) -> tuple[int | None, str]:
    """(where the JSON value that starts there ends, ""), or (None, why it does not)."""
    try:
        return SCAN(text, start)[1], ""
    except (json.JSONDecodeError, StopIteration) as error:
        why = getattr(error, "msg", "it ends here").removesuffix(" at")
        return None, why
    except (ValueError, RecursionError):
        return None, "Python cannot hold it"


def _listed(text: str, why: str):
    """The record of a list's value, or a DataError."""
    if why:
        what = f"not JSON ({why}), the rest of the list is not read"
        return DataError(f"{what}: expected objects, parted by commas, and a ]")
    try:
        return _parse(text)
    except DataError as error:
        return error


def _parse(text: str) -> dict:
    """The JSON object of a text."""
    try:
        record = json.loads(
            text.rstrip(), object_pairs_hook=unique, parse_constant=_refuse
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


def _refuse(name: str):
    """Raises DataError for a constant that only Python's parser knows."""
    raise DataError(f"{name} is not JSON, {ONE_OBJECT}")
