"""What the cells of a lesson print, as the English reading edition keeps it.

One run of the English lesson fills translations/en/NAME.md; every language copies the
outputs from there, and so does the site. In a page one stands below the code:

    <!-- output -->
    (text, table or figure)
    <!-- end of output -->

The stamp at the head of the page says what ran, where, when, with which code, and with
which files of the ledger, where cells read some.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from helpers.course import ENGLISH, Wording
from translations.markdown_blocks import PARSER
from translations.pages import Page, PageError, digest, read_text

BEGIN, END, NOTICE = "<!-- output -->", "<!-- end of output -->", "<!-- notice -->"
STAMP = re.compile(
    r"<!-- outputs: ([^;]+); ([^;]+); ([\d-]+); ([0-9a-f]{16})"
    r"(?:; data: ([0-9a-f]{16}))? -->"
)
RESULTS = "data/results"
NAMED = re.compile(r"""["'](?:[\w./-]*/)?([\w.*{}-]+\.json)["']""")
CELL = re.compile(r"<!-- cell: (\S+) ")
PICTURE = re.compile(r"!\[((?:\\.|[^\]\\])*)\]\(\.\./figures/([\w.-]+)\)")
FIGURES = "figures"
MOVES = "In a notebook this can be moved."
BAR = "In a notebook a progress bar moves here."


@dataclass(frozen=True)
class Outputs:
    """A lesson's outputs.

    code: `code_hash` of what ran; data: `data_hash` of what it read; blocks: {cell id:
    text}.
    """

    profile: str
    device: str
    date: str
    code: str
    data: str | None
    blocks: dict[str, str] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        parts = [self.profile, self.device, self.date, self.code]
        parts += [f"data: {self.data}"] * bool(self.data)
        return f"<!-- outputs: {'; '.join(parts)} -->"


def code_hash(cells: list[tuple[str, str]]) -> str:
    """The hash of a lesson's code. cells: [(id, code)], without the set-up cell."""
    return digest("\n".join(f"{name}\n{code}" for name, code in cells))


def code_of(page: Page) -> str:
    """The `code_hash` of an English page of today.

    The set-up cell prints nothing, and the public address is stamped into it.
    """
    return code_hash([(c.id, c.text) for c in page.cells if c.code and not c.setup])


def data_files(root: Path, page: Page) -> list[Path]:
    """The files of the ledger that a lesson's cells read, by the names in its code."""
    code = "\n".join(cell.text for cell in page.cells if cell.code)
    names = [re.sub(r"\{.*?\}", "*", name) for name in NAMED.findall(code)]
    names += [f"{page.name}.*.json"] * ("read_ledger()" in code)  # its own entries
    return sorted({file for n in names for file in (root / RESULTS).glob(n)})


def data_hash(root: Path, page: Page) -> str | None:
    """The hash of what `data_files` hold today, None where there are none."""
    files = data_files(root, page)
    texts = (f"{file.name}\n{file.read_text(encoding='utf-8')}" for file in files)
    return digest("\n".join(texts)) if files else None


def fault(root: Path, page: Page) -> str:
    """Why what a page keeps is not what its cells would print today, "" where it is."""
    if not (kept := read(root, page)):
        return "nothing is known of what the cells print"
    if kept.code != code_of(page):
        return "what the cells print is from other code than today's"
    if kept.data != data_hash(root, page):
        return f"what the cells print is of other files than today's in {RESULTS}"
    there = root / "translations" / FIGURES
    lost = [n for n in sorted(figures(kept.blocks)) if not (there / n).exists()]
    return f"the figure {lost[0]} is not there" if lost else ""


def notice(phrase: str, words: Wording = ENGLISH) -> str:
    """A line for the reader that belongs to the tools, not to the translator."""
    return f"*{words.say(phrase)}* {NOTICE}"


def name_of(page: Page, language: str = "en") -> str:
    """The file of a page in a language, from the root."""
    return f"translations/{language}/{page.name}.md"


def read(root: Path, page: Page) -> Outputs | None:
    """The outputs of a lesson, None where none are kept. Raises PageError."""
    name = name_of(page)
    if not (root / name).exists():
        return None
    text = read_text(root, name)
    stamp = STAMP.search(text.partition("<!-- cell:")[0])
    if not stamp:
        return None
    blocks, cell, start = {}, "", None
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if start is None and (found := CELL.match(line)):
            cell = found[1]
        elif line == BEGIN and start is None:
            start = number
        elif line == END and start is not None:
            blocks[cell] = "\n".join(lines[start + 1 : number]).strip("\n")
            start = None
    if start is not None:
        raise PageError(f"{name}:{start + 1}: this output has no {END}; run `sync`")
    return Outputs(*stamp.groups(), blocks)


def cut(raw: str) -> str:
    """A code cell's text without its output: empty lines keep the place of it."""
    lines = raw.split("\n")
    start, end = lines.index(BEGIN), lines.index(END)
    return "\n".join([*lines[:start], *[""] * (end + 1 - start), *lines[end + 1 :]])


def put(code: str, block: str, words: Wording) -> str:
    """A code cell's text with its output below it, in a language's words."""
    return f"{code}\n\n{BEGIN}\n{worded(block, words)}\n{END}" if block else code


def worded(block: str, words: Wording) -> str:
    """An output with the tools' lines in a language."""
    for phrase in (MOVES, BAR):
        block = block.replace(notice(phrase), notice(phrase, words))
    return block


def figures(blocks: dict[str, str]) -> set[str]:
    """The names of the figures that outputs show."""
    return {name for text in blocks.values() for _, name in PICTURE.findall(text)}


def for_notebook(block: str) -> list[tuple[str, str]]:
    """The parts of an output: [("text", text) or ("figure", name) or ("html", HTML)].

    The site shows them in its notebooks.
    """
    tokens, lines, found = PARSER.parse(block), block.split("\n"), []
    for token in (t for t in tokens if t.level == 0 and t.map and t.nesting >= 0):
        piece = "\n".join(lines[slice(*token.map)])
        if token.type == "fence":
            found.append(("text", token.content))
        elif picture := PICTURE.fullmatch(piece.strip()):
            found.append(("figure", picture[2]))
        else:
            found.append(("html", PARSER.render(piece)))
    return found


def alt(block: str) -> str:
    """What the first figure of an output shows, in words."""
    found = PICTURE.search(block)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""
