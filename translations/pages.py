"""The English pages: lessons and README as cells, with the hash of each text.

Some parts are written by tools: a lesson's "Measured" line, README's badges, its table
of results, its languages. They are no reason to translate again, so a cell is hashed
and compared with a comment in the place of each, and `filled` puts today's there.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from helpers import UserError
from helpers.course import MEASURED
from translations.targets import fenced, sections

FOLD = "<details><summary><code>{name}</code></summary>\n\n{code}\n\n</details>"
LINE, BADGES, RESULTS = "<!-- measured -->", "<!-- badges -->", "<!-- results -->"
LANGUAGES = "<!-- languages -->"
PLACES = (LINE, BADGES, RESULTS, LANGUAGES)
# In a translation the line ends in the comment.
MEASURED_LINE = re.compile(rf"{MEASURED.pattern}|^.*{LINE}$", re.MULTILINE)
BLOCK = re.compile(
    r"^<!-- (badges|results|languages): .*-->\n(?:.*\n)*?<!-- end of \1 -->$",
    re.MULTILINE,
)


class PageError(UserError):
    """A page that cannot be read. One line: where, what is wrong, what to do."""


@dataclass(frozen=True)
class Cell:
    """A cell of an English page.

    text: the source as `emptied`; code: whether it is copied, not translated; folded:
    whether a reader unfolds it; setup: whether it is the set-up cell.
    """

    id: str
    code: bool
    text: str
    folded: bool = False
    setup: bool = False

    @property
    def hash(self) -> str:
        return digest(self.text)

    @property
    def places(self) -> list[str]:
        """The comments that stand for parts of the ledger."""
        return [li for li in self.text.split("\n") if li in PLACES]


@dataclass(frozen=True)
class Page:
    """An English page. path: from the root, with slashes."""

    path: str
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return Path(self.path).stem


def digest(text: str) -> str:
    """The first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_text(root: Path, name: str) -> str:
    """The content of a text file with plain newlines.

    name: from the root, with slashes, as messages call it. A mark of UTF-8 at the head,
    as some editors write it, is no part of the text. Raises PageError.
    """
    try:
        return (root / name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        raise PageError(f"{name}:1: {message}") from None
    except OSError as error:
        raise PageError(f"{name}: {error.strerror}") from None


def read_pages(root: Path) -> list[Page]:
    """The pages to translate, README first. Raises PageError."""
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return [read_page(root, path) for path in (root / "README.md", *lessons)]


def read_page(root: Path, path: Path) -> Page:
    """An English page. Raises PageError."""
    name = path.relative_to(root).as_posix()
    text = read_text(root, name)
    if path.suffix == ".md":
        parts = sections(text.replace("\r\n", "\n"))
        cells = [_text_cell(title, part) for title, part in parts]
    else:
        cells = [_notebook_cell(cell) for cell in notebook_cells(name, text)]
    twice = {c.id for c in cells if [d.id for d in cells].count(c.id) > 1}
    if twice:
        raise PageError(f"{name}: two cells have the id {sorted(twice)[0]!r}")
    return Page(name, tuple(cells))


def notebook_cells(name: str, text: str) -> list[dict]:
    """A notebook's cells, each with what nbformat 4.5 asks for. Raises PageError."""
    try:
        cells = json.loads(text)["cells"]
        wanted = {"id", "cell_type", "metadata", "source"}
        assert all(wanted <= set(cell) for cell in cells)
    except (ValueError, KeyError, TypeError, AssertionError):
        message = "not a notebook whose cells have ids (nbformat 4.5)"
        raise PageError(f"{name}: {message}") from None
    return cells


def _notebook_cell(cell: dict) -> Cell:
    """A cell of a notebook's JSON."""
    source = "".join(cell["source"]).replace("\r\n", "\n")
    if cell["cell_type"] == "markdown":
        return _text_cell(cell["id"], source)
    metadata = cell["metadata"]
    folded = metadata.get("jupyter", {}).get("source_hidden", False)
    return Cell(cell["id"], True, source, folded, "setup" in metadata.get("tags", []))


def _text_cell(name: str, source: str) -> Cell:
    return Cell(name, False, emptied(source.strip("\n")))


def emptied(text: str) -> str:
    """A text, English or translated, with a comment for each part of the ledger's."""
    return MEASURED_LINE.sub(LINE, BLOCK.sub(r"<!-- \1 -->", text))


def filled(text: str, parts: dict[str, str]) -> str:
    """A text as `emptied` with the ledger's parts of today. parts: {comment: part}."""
    return "\n".join(parts.get(line, line) for line in text.split("\n"))


def shown(cell: Cell) -> str:
    """The English text of a cell as it stands in a page of translations."""
    text = fenced(cell.text) if cell.code else cell.text
    return FOLD.format(name=cell.id, code=text) if cell.folded else text
