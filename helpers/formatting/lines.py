"""The lines of a file in bounded memory, and the error that names a line."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from helpers import UserError

MAX_RECORD = 16 * 2**20  # bytes; a longer line is refused, and never held whole
BOM = b"\xef\xbb\xbf"  # the mark that some Windows editors put first


class DataError(UserError):
    """Unusable data. str(error): "path:line: what is wrong, what was expected"."""


def iter_lines(path: Path, progress: bool = False) -> Iterator[tuple]:
    """Yields (line, bytes) of every line; None in place of one above MAX_RECORD.

    progress: show a bar over the bytes of the file.
    Raises DataError where the file cannot be read, whenever that turns out.
    """
    number = 0
    try:
        with path.open("rb") as stream, _bar(stream, progress) as bar:
            while raw := stream.readline(MAX_RECORD + 1):
                bar.update(len(raw))
                number += 1
                if len(raw) > MAX_RECORD:
                    _skip_line(stream, raw, bar)
                    raw = None
                elif number == 1:
                    raw = raw.removeprefix(BOM)
                yield number, raw
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        reason = "it is a folder" if isinstance(error, IsADirectoryError) else reason
        what = f"cannot be read ({reason}), expected a JSON Lines, CSV or TSV file"
        raise DataError(f"{path}:{number + 1}: {what}") from None


def decode(raw: bytes | None) -> str:
    """The text of a record's bytes, None where they were too many. Raises DataError."""
    if raw is None or len(raw) > MAX_RECORD:
        most = f"{MAX_RECORD / 2**20:g} MiB"
        raise DataError(f"longer than {most}, expected a shorter record")
    if b"\0" in raw:
        place = f"byte {raw.index(0) + 1} is NUL (0x00)"
        raise DataError(f"{place}, expected text: save the file as UTF-8, not UTF-16")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1} (0x{raw[error.start]:02x})"
        raise DataError(f"{place} is not UTF-8, expected a UTF-8 file") from None


def short(value) -> str:
    """A value in an error, cut to fit the line."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, TypeError, ValueError):
        text = f"a {type(value).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair
    return text if len(text) <= 40 else text[:37] + "..."


def _bar(stream, progress: bool):
    """A progress bar over the bytes of an open file."""
    from tqdm.auto import tqdm  # loads the notebook's widgets, where there are any

    total = os.fstat(stream.fileno()).st_size
    sizes = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    return tqdm(total=total, disable=not progress, **sizes)


def _skip_line(stream, raw: bytes, bar) -> None:
    """Reads on to the end of a line that is too long, a piece at a time."""
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(MAX_RECORD)
        bar.update(len(raw))
