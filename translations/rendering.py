"""What a cell of an executed notebook printed, as Markdown.

Texts become fenced blocks, tables Markdown tables, figures files. Of a page of HTML
bold, underlined, struck and framed pieces are kept, by tags that the code host shows.
Controls that need a kernel are shown in the form they have without one.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser

from helpers.course import MIME
from translations.outputs import BAR, MOVES, notice
from translations.targets import fenced

WIDGET = "application/vnd.jupyter.widget-view+json"
# Colours of a terminal, and what a progress bar wrote over.
OVERWRITTEN = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\n]*\r(?!\n)")
SPECIAL = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])")
NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?\s*(%|[A-Za-z]{1,6}(/s)?)?")
LOOKS = {"font-weight:bold": "b", "border-bottom": "ins"}
LOOKS |= {"line-through": "s", "outline:": "kbd"}


def rendered(outputs: list[dict], clean: Callable, picture: Callable) -> str:
    """The Markdown of a cell's outputs, "" where there is nothing to see.

    clean: takes from a text what belongs to the machine; picture: keeps the bytes of a
    PNG file, and gives the path that a page links.
    """
    parts = []
    for output in _merged(outputs):
        for part in _parts(output, clean, picture):
            again = part == notice(BAR) == (parts or [""])[-1]
            if part and not again:
                parts.append(part.replace("<!--", "<! --") if "```" in part else part)
    return "\n\n".join(parts)


def _merged(outputs: list[dict]) -> list[dict]:
    """The outputs, those of a stream that follow each other as one."""
    found = []
    for output in outputs:
        if output["output_type"] == "stream":
            text = "".join(output["text"])
            if found and found[-1]["output_type"] == "stream":
                found[-1]["text"] += text
            else:
                found.append({"output_type": "stream", "text": text})
        else:
            found.append(output)
    return found


def _parts(output: dict, clean: Callable, picture: Callable) -> list[str]:
    if output["output_type"] == "stream":
        return [_text(clean(output["text"]))]
    if output["output_type"] == "error":
        return [_text(clean(f"{output['ename']}: {output['evalue']}"))]
    data = {k: v if k == MIME else "".join(v) for k, v in output["data"].items()}
    moves = [notice(MOVES)] if output.get("metadata", {}).get("moves") else []
    plain = clean(data.get("text/plain", ""))
    if MIME in data:
        return [_text(plain)]
    if "image/png" in data:
        alt = SPECIAL.sub(r"\\\g<0>", "" if plain.startswith("<Figure") else plain)
        place = picture(base64.b64decode(data["image/png"]))
        return [f"![{' '.join(alt.split())}]({place})", *moves]
    if "text/html" in data:
        return [*_html(clean(data["text/html"])), *moves]
    return [notice(BAR)] if WIDGET in data else [_text(plain)]


def _text(text: str) -> str:
    """A text as a fenced block."""
    text = OVERWRITTEN.sub("", text).strip("\n")
    lines = [line.rstrip() for line in text.split("\n")]
    return fenced("\n".join(lines), "text") if text.strip() else ""


def _html(text: str) -> list[str]:
    page = _Page()
    page.feed(text)
    page.close()
    page.end_text()
    return page.parts


@dataclass
class _Table:
    """A table as it is read: rows of texts, and how many of them are its head."""

    rows: list[list[str]] = field(default_factory=list)
    heads: int = 0
    down: dict[int, list] = field(default_factory=dict)  # column: text, rows it spans

    def add(self, text: str, wide: int, high: int) -> None:
        """Adds a cell, which may span columns and rows: its text stands in each."""
        self.carry()
        for _ in range(wide):
            self.down[len(self.rows[-1])] = [text, high - 1]
            self.rows[-1].append(text)

    def carry(self) -> None:
        """Adds what cells above span, as far as the next free column."""
        row = self.rows[-1]
        while (span := self.down.get(len(row), ["", 0]))[1]:
            span[1] -= 1
            row.append(span[0])

    def markdown(self) -> str:
        wide = max(map(len, self.rows), default=0)
        rows = [row + [""] * (wide - len(row)) for row in self.rows]
        above, body = rows[: self.heads], rows[self.heads :]
        # The rows of a head as one: pandas puts the name of an index in a row below.
        columns = zip(*(above or [[""] * wide]), strict=True)
        head = [" ".join(dict.fromkeys(filter(None, column))) for column in columns]
        sides = [_side([row[i] for row in body]) for i in range(wide)]
        return "\n".join(f"| {' | '.join(row)} |" for row in [head, sides, *body])


def _side(texts: list[str]) -> str:
    """A column's rule: numbers stand at the right."""
    found = [text for text in texts if text]
    return "---:" if found and all(map(NUMBER.fullmatch, found)) else "---"


class _Page(HTMLParser):
    """A page's `parts`: tables, and the texts between them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.text: list[str] = []  # of HTML, outside of tables
        self.marks: list[str] = []  # of the open spans
        self.table: _Table | None = None
        self.cell: list[str] | None = None
        self.span, self.wrong, self.skip = [1, 1], False, False

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag in ("style", "script"):
            self.skip = True
        elif tag == "progress":
            self.end_text()
            self.parts.append(notice(BAR))
        elif tag == "table":
            self.end_text()
            self.table = _Table()
        elif tag == "tr" and self.table:
            self.table.rows.append([])
        elif tag in ("td", "th") and self.table:
            self.cell = []
            self.span = [int(found.get(way, 1)) for way in ("colspan", "rowspan")]
            self.wrong = "wrong" in found.get("class", "").split()
        elif tag == "br":
            (self.text if self.cell is None else self.cell).append("\n")
        elif self.cell is not None:
            return  # of a cell only the text is kept
        elif tag == "wbr":
            self.text.append("|<wbr>")
        elif tag in ("span", "b"):
            look = found.get("style", "")
            names = [n for css, n in LOOKS.items() if css in look] or ["b"] * (
                tag == "b"
            )
            self.marks.append("".join(f"<{name}>" for name in names))
            self.text.append(self.marks[-1])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self.skip = False
        elif tag == "thead" and self.table:
            self.table.heads = len(self.table.rows)
        elif tag in ("td", "th") and self.cell is not None:
            text = _cell("".join(self.cell))
            text = f"**{text}**" if self.wrong and text else text
            self.table.add(text, *self.span)
            self.cell = None
        elif tag == "tr" and self.table:
            self.table.carry()
        elif tag == "table" and self.table:
            self.parts.append(self.table.markdown())
            self.table = None
        elif tag in ("span", "b") and self.marks and self.cell is None:
            names = re.findall(r"\w+", self.marks.pop())
            self.text.append("".join(f"</{name}>" for name in reversed(names)))
        elif tag in ("div", "p"):
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)
        elif not self.skip and not self.table:
            self.text.append(escape(data, quote=False))

    def end_text(self) -> None:
        """Ends the text before a table; what a progress bar counts is left out."""
        text = re.sub(r"\|<wbr>(?=\n|$)|(?<=\n)\|<wbr>", "", "".join(self.text))
        self.text = []
        if self.parts[-1:] == [notice(BAR)]:
            return
        for part in re.split(r"\n\s*\n", text):
            lines = "<br>\n".join(line.strip() for line in part.strip().split("\n"))
            lines = f"<samp>{lines}</samp>" if "<wbr>" in lines else lines
            self.parts += [f"<p>{lines}</p>"] * bool(lines)


def _cell(text: str) -> str:
    """A text as it may stand in a cell of a Markdown table."""
    text = SPECIAL.sub(r"\\\g<0>", text.replace("&", "&amp;").strip())
    return "<br>".join(" ".join(line.split()) for line in text.split("\n"))
