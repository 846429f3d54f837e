"""The English pages: lessons and README as cells, with the hash of each text.

Some parts are written by `helpers.ledger`: a lesson's "Measured" line, README's badges
and its table of results. They are no reason to translate again, so a cell is hashed
and compared without them, and `filled` puts today's back.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from helpers.ledger import MEASURED
from translations.targets import fenced, sections

LINE = "<!-- measured -->"
BLOCK_HEAD = re.compile(r"<!-- (badges|results): .*-->")


class PageError(ValueError):
    """A page that cannot be read. One line: where, what is wrong, what to do."""


@dataclass(frozen=True)
class Cell:
    """A cell of an English page.

    text: the source, without what the ledger writes; ledger: what stands there, by
    the comment that holds its place; code: whether it is copied, not translated.
    """

    id: str
    code: bool
    text: str
    ledger: tuple = ()

    @property
    def hash(self):
        return digest(self.text)


@dataclass(frozen=True)
class Page:
    """An English page. path: from the root, with slashes; cells: tuple of Cell."""

    path: str
    cells: tuple

    @property
    def name(self):
        return Path(self.path).stem


def digest(text):
    """Return the first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_text(path):
    """Return a text file's content with plain newlines; raise PageError."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        raise PageError(f"{path}:1: {message}") from None
    except OSError as error:
        raise PageError(f"{path}: {error.strerror}") from None


def read_pages(root):
    """Return the pages to translate, README first; raise PageError."""
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return [read_page(root, path) for path in (root / "README.md", *lessons)]


def read_page(root, path):
    """Return an English page; raise PageError."""
    text = read_text(path)
    if path.suffix == ".md":
        cells = [_cell(name, False, part) for name, part in sections(text)]
    else:
        cells = [
            _cell(c["id"], c["cell_type"] != "markdown", "".join(c["source"]))
            for c in notebook_cells(path, text)
        ]
    twice = {c.id for c in cells if [d.id for d in cells].count(c.id) > 1}
    if twice:
        raise PageError(f"{path}: two cells have the id {sorted(twice)[0]!r}")
    return Page(path.relative_to(root).as_posix(), tuple(cells))


def notebook_cells(path, text):
    """Return a notebook's cells as dicts with id, cell_type and source."""
    try:
        cells = json.loads(text)["cells"]
        assert all({"id", "cell_type", "source"} <= set(cell) for cell in cells)
    except (ValueError, KeyError, TypeError, AssertionError):
        message = "not a notebook whose cells have ids (nbformat 4.5)"
        raise PageError(f"{path}: {message}") from None
    return cells


def _cell(name, code, source):
    text = source.replace("\r\n", "\n")
    if code:
        return Cell(name, True, text)
    text, ledger = emptied(text.strip("\n"))
    return Cell(name, False, text, tuple(ledger.items()))


def emptied(text):
    """Return (text without the ledger's parts, {comment: part}).

    Reads English pages and translations alike: there the line ends in the comment.
    """
    ledger, lines, block, name = {}, [], [], ""
    for line in text.split("\n"):
        if found := not block and BLOCK_HEAD.fullmatch(line):
            name, block = found[1], [line]
        elif block:
            block.append(line)
        elif MEASURED.fullmatch(line) or line.endswith(LINE):
            ledger[LINE] = line
            lines.append(LINE)
        else:
            lines.append(line)
        if block and line == f"<!-- end of {name} -->":
            ledger[f"<!-- {name} -->"] = "\n".join(block)
            lines.append(f"<!-- {name} -->")
            block = []
    return "\n".join(lines + block), ledger


def filled(text, cell, phrases):
    """Return a text with the ledger's parts of today, their labels translated."""
    for place, part in cell.ledger:
        part = _labelled(part, phrases)
        part += f" {place}" if place == LINE else ""
        text = "\n".join(part if li == place else li for li in text.split("\n"))
    return text


def _labelled(part, phrases):
    """Return a part of the ledger's with its labels translated, code left alone."""
    known = [p for p in sorted(phrases, key=len, reverse=True) if phrases[p]]
    if not known:
        return part
    label = re.compile(rf"\b(?:{'|'.join(map(re.escape, known))})\b")
    bits = re.split(r"(`[^`]*`|<!--.*?-->)", part)
    bits[::2] = [label.sub(lambda m: phrases[m[0]], bit) for bit in bits[::2]]
    return "".join(bits)


def shown(cell):
    """Return the English text of a cell as it stands in a page of translations."""
    return fenced(cell.text) if cell.code else cell.text
