"""Text files as people have them: packed, in another encoding, with other line ends.

What is detected is said; what no rule can tell apart is refused with the way out.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from helpers.formatting.lines import BROKEN, Bar, DataError, unreadable

PACKED = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\0": lzma}
SUFFIXES = (".gz", ".bz2", ".xz")
# How other files begin: what they are, and how to make of them what can be read.
FOREIGN = {
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save the sheet as "
    "CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file: save it as CSV UTF-8",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it (zstd -d), or pack it with gzip",
    b"%PDF": "a PDF: copy its text to a CSV file",
    b"SQLite format 3": "an SQLite database: export the table as CSV",
    b"\x93NUMPY": "a NumPy array: write its texts as JSON Lines",
    b"\x80\x04": "a pickle, which may run code: write it as JSON Lines",
}
MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD = 2**16  # bytes that say how a file is written
# Bytes of another code page, read as cp1252, stand where no Western text has them: four
# letters with accents in a row (Cyrillic, Greek), a sign inside a word (Polish, Czech,
# Romanian), an accent before a sign (UTF-8 within the same file).
NOT_WESTERN = re.compile(
    r"[À-ÖØ-öø-ÿŠšŽžŒœŸ]{4}|[^\W\d_][¡-©«¬®-·¹»-¿ƒ†‡‰][^\W\d_]|[þðÞÐÿ]|[Ãâ][^\w\s'.,;:!?]"
    r"|[\x00-\x08\x0e-\x1f]"
)
# A first line of JSON or of a table that ends in CR, and no line feed anywhere.
OLD_MAC = re.compile(r"\s*(?:[{\[]|[^\r]*[,;\t|])[^\r\n]*\r[^\n\x00-\x08]+")
WORD = re.compile(r"\w*[^\x00-\x7f]\w*")


@contextlib.contextmanager
def opened(path: Path, progress: bool, say: Callable) -> Iterator[tuple]:
    """(stream, bar, first character) of a text file, as UTF-8 with line feeds.

    stream: `readline(size)` and `read(size)` return bytes. bar(): brings the progress
        bar up to date. Raises DataError for what is no text, or cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            raw = stream = stack.enter_context(path.open("rb"))
            start = ""
            if raw.seekable():
                stream = _unpacked(path, raw)
                encoding, newline, start = _written(path, stream, say)
                stream.seek(0)
                if (encoding, newline) != ("utf-8", "\n"):
                    stream = Recoded(stream, encoding, newline)
        except DataError:
            raise
        except BROKEN as error:
            raise unreadable(path, 1, error) from None
        bar = stack.enter_context(_bar(raw, progress))
        yield stream, lambda: bar.update(raw.tell() - bar.n), start.lstrip()[:1]


class Recoded:
    """A stream of another encoding or line end, as UTF-8 with line feeds."""

    def __init__(self, stream, encoding: str, newline: str) -> None:
        # What is no UTF-8 passes through as it is, to be refused with its line.
        self.errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
        errors = "strict" if encoding == "cp1252" else self.errors
        wrap = io.TextIOWrapper(stream, encoding, errors, newline=newline)
        self.text, self.newline = wrap, newline

    def readline(self, size: int = -1) -> bytes:
        return self._bytes(self.text.readline(size))

    def read(self, size: int = -1) -> bytes:
        return self._bytes(self.text.read(size))

    def _bytes(self, text: str) -> bytes:
        return text.replace(self.newline, "\n").encode("utf-8", self.errors)


def plain_suffix(path: Path) -> str:
    """The suffix of a file's name, below that of its packing: .csv of a.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _unpacked(path: Path, raw):
    """The stream within gzip, bzip2 or xz; the stream itself for other files."""
    head = raw.read(16)
    raw.seek(0)
    for mark, what in FOREIGN.items():
        if head.startswith(mark):
            kind, _, way = what.partition(": ")
            expected = "expected text, Parquet or Arrow"
            raise DataError(f"{path}:1: this is {kind}, {expected}: {way}")
    for mark, module in PACKED.items():
        if head.startswith(mark):
            return module.open(raw)
    return raw


def _written(path: Path, stream, say: Callable) -> tuple[str, str, str]:
    """(encoding, line end, first text) of a stream; says what is not the usual."""
    head = stream.read(HEAD)
    encoding = next((name for mark, name in MARKS if head.startswith(mark)), None)
    even, odd = head[::2].count(0), head[1::2].count(0)
    if encoding is None and min(even, odd) == 0 and max(even, odd) > len(head) // 4 > 1:
        encoding = "utf-16-le" if odd else "utf-16-be"
    if encoding:
        say(f"{path}: not UTF-8, read as {encoding}")
    else:
        encoding, word = _encoding(stream, head)
        if word:
            what = f"not UTF-8, read as {encoding} (Windows), such as {word!r}"
            say(f"{path}: {what}: if that is wrong, save the file as UTF-8")
    start = head.decode(encoding, "ignore").removeprefix("\ufeff")
    if OLD_MAC.fullmatch(start):
        say(f"{path}: lines end in CR, as on old Macs")
        return encoding, "\r", start
    return encoding, "\n", start


def _encoding(stream, head: bytes) -> tuple[str, str]:
    """("utf-8", ""), or ("cp1252", a word of it) where all bytes look Western."""
    decoder, piece, before, word = codecs.getincrementaldecoder("utf-8")(), head, "", ""
    utf8 = western = True
    while piece and (utf8 or western):
        if not piece.isascii():
            try:
                utf8 and decoder.decode(piece)
            except UnicodeDecodeError:
                utf8 = False
            try:
                text = before + piece.decode("cp1252")
            except UnicodeDecodeError:
                western, text = False, ""
            western = western and not NOT_WESTERN.search(text)
            found = None if word else WORD.search(text)
            word, before = found[0][:40] if found else word, text[-4:]
        elif utf8 and decoder.getstate()[0]:
            utf8 = False  # a character was cut off
        piece = stream.read(HEAD)
    utf8 = utf8 and not decoder.getstate()[0]
    return ("cp1252", word) if western and not utf8 else ("utf-8", "")


def _bar(stream, progress: bool):
    """A progress bar over the bytes of an open file, if that takes long."""
    total = os.fstat(stream.fileno()).st_size
    sizes = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    return Bar(total=total, disable=not progress, **sizes)
