"""The lines of a file in bounded memory, and the error that names a line."""

import json
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from helpers import UserError, is_headless, one_line

MAX_RECORD = 16 * 2**20  # bytes; a longer line is refused, and never held whole
BOM = b"\xef\xbb\xbf"  # the mark that some Windows editors put first
# What reading raises: the system, a path with a NUL in it, a damaged packed file.
BROKEN = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError)


class DataError(UserError):
    """Unusable data. str(error): "path:line: what is wrong, what was expected"."""


class Bar(tqdm):
    """A progress bar that shows after some seconds only: small files need none.

    It is text: a notebook's widget would be there even before it shows. In a headless
    run of the course nobody waits for it.
    """

    def __init__(self, *args, disable=False, **options) -> None:
        how = {"delay": 5, "mininterval": 0.5, "disable": disable or is_headless()}
        super().__init__(*args, **options, **how)

    def refresh(self, *args, **options) -> None:
        if self._shows():
            super().refresh(*args, **options)

    def clear(self, *args, **options) -> None:
        if self._shows():
            super().clear(*args, **options)

    def _shows(self) -> bool:
        """Whether it is time: tqdm.write draws every bar anew."""
        return self._time() >= self.start_t + self.delay


def say(remark: str) -> None:
    """Prints on stderr what was detected, joined or left out on the way."""
    print(remark, file=sys.stderr)


def each(rows) -> Iterator[dict]:
    """Yields the rows of a datasets.Dataset, of which some were chosen, read by many.

    One by one each is a look-up of its own where a split was shuffled or selected.
    """
    for batch in rows.iter(1_000):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def iter_lines(path: Path, stream, bar) -> Iterator[tuple]:
    """Yields (line, bytes) of every line; None in place of one above MAX_RECORD.

    stream, bar: of `opening.opened`. Raises DataError where the file cannot be read on.
    """
    number = 0
    try:
        while raw := stream.readline(MAX_RECORD + 1):
            bar()
            number += 1
            if len(raw) > MAX_RECORD:
                _skip_line(stream, raw, bar)
                raw = None
            elif number == 1:
                raw = raw.removeprefix(BOM)
            yield number, raw
    except BROKEN as error:
        raise unreadable(path, number + 1, error) from None


def unreadable(path, line: int, error: Exception) -> DataError:
    """The DataError for a file that the system or a library cannot read."""
    reason = getattr(error, "strerror", None) or one_line(error, 200)
    reason = "it is a folder" if isinstance(error, IsADirectoryError) else reason
    what = f"cannot be read ({reason}), expected a JSON Lines, CSV or TSV file"
    return DataError(f"{path}:{line}: {what}")


def decode(raw: bytes | None) -> str:
    """The text of a record's bytes, None where they were too many. Raises DataError."""
    if raw is None or len(raw) > MAX_RECORD:
        most = f"{MAX_RECORD / 2**20:g} MiB"
        raise DataError(f"longer than {most}, expected a shorter record")
    if b"\0" in raw:
        place = f"byte {raw.index(0) + 1} is NUL (0x00)"
        raise DataError(f"{place}, expected text: save the file as UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1} (0x{raw[error.start]:02x})"
        raise DataError(
            f"{place} is not UTF-8, expected a UTF-8 file: save it as such"
        ) from None


def short(value) -> str:
    """A value in an error, cut to fit the line."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, TypeError, ValueError):
        text = f"a {type(value).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair
    return text if len(text) <= 40 else text[:37] + "..."


def _skip_line(stream, raw: bytes, bar) -> None:
    """Reads on to the end of a line that is too long, a piece at a time."""
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(MAX_RECORD)
        bar()
