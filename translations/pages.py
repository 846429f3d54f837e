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

from helpers.course import MEASURED
from translations.labels import labelled
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


def read_text(root, name):
    """Return the content of a text file with plain newlines; raise PageError.

    name: from the root, with slashes, as messages call it. A mark of UTF-8 at the head,
    as some editors write it, is no part of the text.
    """
    try:
        return (root / name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        raise PageError(f"{name}:1: {message}") from None
    except OSError as error:
        raise PageError(f"{name}: {error.strerror}") from None


def read_pages(root):
    """Return the pages to translate, README first; raise PageError."""
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return [read_page(root, path) for path in (root / "README.md", *lessons)]


def read_page(root, path):
    """Return an English page; raise PageError."""
    name = path.relative_to(root).as_posix()
    text = read_text(root, name)
    if path.suffix == ".md":
        cells = [_cell(title, False, part) for title, part in sections(text)]
    else:
        cells = [
            _cell(c["id"], c["cell_type"] != "markdown", "".join(c["source"]))
            for c in notebook_cells(name, text)
        ]
    twice = {c.id for c in cells if [d.id for d in cells].count(c.id) > 1}
    if twice:
        raise PageError(f"{name}: two cells have the id {sorted(twice)[0]!r}")
    return Page(name, tuple(cells))


def notebook_cells(name, text):
    """Return a notebook's cells as dicts with id, cell_type and source; PageError."""
    try:
        cells = json.loads(text)["cells"]
        assert all({"id", "cell_type", "source"} <= set(cell) for cell in cells)
    except (ValueError, KeyError, TypeError, AssertionError):
        message = "not a notebook whose cells have ids (nbformat 4.5)"
        raise PageError(f"{name}: {message}") from None
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
        part = labelled(part, phrases)
        part += f" {place}" if place == LINE else ""
        text = "\n".join(part if li == place else li for li in text.split("\n"))
    return text


def shown(cell):
    """Return the English text of a cell as it stands in a page of translations."""
    return fenced(cell.text) if cell.code else cell.text
