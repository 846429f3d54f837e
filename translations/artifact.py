"""A translated page as one Markdown file: read, and written.

Before each cell stands a comment with its id and the hash of its English text:

    <!-- cell: title source: 0123456789abcdef -->             translated
    <!-- cell: title source: missing shown: 0123... -->       the English stands below
    <!-- cell: title source: 0123... now: 4567...             stale; the comment goes on
    (the English of today)                                    with the English of today
    -->
    <!-- cell: title source: 0123... removed                  gone from the English; the
    (the translation)                                         comment keeps the text
    -->

`source: done`, beside shown: or now:, is what a translator writes to say "up to
date"; the hash of the English alone says it too. Lines that end in
`<!-- notice -->` tell the reader what a cell is; they belong to the tools.
"""

import re
from dataclasses import dataclass

from helpers.course import Wording
from translations.outputs import BEGIN, END, NOTICE, cut, notice
from translations.pages import Cell, PageError, digest, emptied, filled, shown
from translations.targets import replace_targets, targets

MARKER = re.compile(
    r"<!-- cell: (?P<id>\S+) source: (?P<source>[0-9a-f]{16}|missing|done)"
    r"(?: shown: (?P<shown>[0-9a-f]{16})| now: (?P<now>[0-9a-f]{16})"
    r"|(?P<removed> removed))?(?P<end> -->)?"
)
# How Co-op Translator once marked a page.
LEGACY = re.compile(
    r'<!--\s*CO_OP_TRANSLATOR_METADATA:[^>]*"translation_date": "([\d-]{10})'
)
STATES = ("current", "stale", "missing")
START = "<!-- cell:"
OWN_LINES = ("<!-- Made by", "<!-- outputs:")
HOMELESS = "no cell holds this text"
FORM = "<!-- cell: {} source: {} -->"


@dataclass(frozen=True)
class Entry:
    """A cell of a translated page.

    text: as `emptied`; line: of its text, from 1; raw: the text as it stands there;
    shown, now: hashes of the head of this module. The output of a code cell is in
    neither: `sync` writes it.
    """

    id: str
    source: str
    text: str
    line: int = 0
    raw: str = ""
    shown: str | None = None
    now: str | None = None
    removed: bool = False

    def state(self, cell: Cell) -> str:
        """One of STATES, beside the English cell."""
        if self.source == "missing":
            return "missing"
        same = self.source == cell.hash
        copied = not cell.code or self.raw == shown(cell)
        return "current" if same and copied else "stale"

    @property
    def touched(self) -> bool:
        """Whether a translator has written over the English of a missing cell."""
        if self.source != "missing" or not self.text.strip():
            return False
        return linkless(self.text) != self.shown


def read(name: str, text: str, first: Cell | None) -> dict[str, Entry]:
    """{id: Entry} of a translated page's text.

    name: the file as messages call it; first: the English page's first cell.
    Raises PageError.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith(START)]
    if starts:
        mark = f"{START} {first.id if first else None} "
        lost = not any(lines[i].startswith(mark) for i in starts)
        _check_head(name, lines[: starts[0]], first if lost else None)
    elif text.strip():
        old = LEGACY.search(text)
        what = f"a page of Co-op Translator's, of {old[1]}" if old else HOMELESS
        message = f"{what}; move the file away, run `sync`, and copy its texts into"
        raise PageError(f"{name}:1: {message} the cells")
    entries = {}
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        entry = _entry(name, lines, start, end)
        if entry.id in entries:
            message = f"cell {entry.id} comes twice; keep one of the two"
            raise PageError(f"{name}:{start + 1}: {message}")
        entries[entry.id] = entry
    return entries


def _check_head(name: str, lines: list[str], lost: Cell | None) -> None:
    """Refuses a text above the first comment. lost: a cell without one."""
    for number, line in enumerate(lines, start=1):
        own = line.startswith(OWN_LINES) or line.endswith(NOTICE)
        if line.strip() and not own:
            remedy = deleted(lost) if lost else "; move it into a cell"
            raise PageError(f"{name}:{number}: {HOMELESS}{remedy}")


def deleted(cell: Cell) -> str:
    """The end of a message: that the comment of this cell may be gone."""
    form = FORM.format(cell.id, cell.hash)
    return f": was the comment of {cell.id} deleted? Put `{form}` above it"


def _entry(name: str, lines: list[str], start: int, end: int) -> Entry:
    """The cell in lines[start:end], its comment first. Raises PageError."""
    found = MARKER.fullmatch(lines[start].rstrip())
    if found is None:
        message = (
            f"this is not a cell's comment; its form is {FORM.format('ID', 'done')}"
        )
        raise PageError(f"{name}:{start + 1}: {message}")
    body, comment = start + 1, ""
    if not found["end"]:
        closed = [i for i in range(body, end) if lines[i] == "-->"]
        if not closed:
            message = "the comment of this cell is not closed; end it with a line -->"
            raise PageError(f"{name}:{start + 1}: {message}")
        comment, body = "\n".join(lines[body : closed[0]]), closed[0] + 1
    while body < end and (not lines[body].strip() or lines[body].endswith(NOTICE)):
        body += 1
    if found["removed"] and any(line.strip() for line in lines[body:end]):
        message = f"cell {found['id']} is gone from the English; move this text"
        raise PageError(f"{name}:{body + 1}: {message}")
    raw = _open(comment) if found["removed"] else "\n".join(lines[body:end])
    if BEGIN in lines[body:end]:
        if END not in lines[body:end]:
            at = body + lines[body:end].index(BEGIN) + 1
            message = "this output has no end; delete it and run `sync`"
            raise PageError(f"{name}:{at}: {message}")
        raw = cut(raw)
    raw = raw.rstrip("\n ")
    return Entry(
        *(found["id"], found["source"], emptied(raw), body + 1, raw),
        *(found["shown"], found["now"], bool(found["removed"])),
    )


def _closed(text: str) -> str:
    """A text that may stand inside a comment; `_open` is the inverse."""
    return text.replace("-->", "--&gt;")


def _open(text: str) -> str:
    return text.replace("--&gt;", "-->")


def write(
    head: str,
    entries: list[Entry],
    english: dict[str, str],
    words: Wording,
    places: dict[str, str],
) -> str:
    """A translated page's text.

    head: what stands above the first cell; entries: of every cell of the page, then
    the removed ones; english: {id: the English text with links as this page needs
    them}; places: what tools write, as `filled`.
    """
    parts = [head]
    for entry in entries:
        text = entry.text if entry.removed else filled(entry.text, places)
        parts.append(_written(entry, text, english.get(entry.id, ""), words))
    return "\n\n".join(parts) + "\n"


def _written(entry: Entry, text: str, english: str, words: Wording) -> str:
    head = f"<!-- cell: {entry.id} source: {entry.source}"
    if entry.removed:
        return f"{head} removed\n{_closed(text)}\n-->"
    if entry.source == "missing":
        head += f" shown: {entry.shown} -->"
        return f"{head}\n{notice('Not translated yet.', words)}\n\n{text}"
    if entry.now:
        old = notice("The English text has changed since.", words)
        return f"{head} now: {entry.now}\n{_closed(english)}\n-->\n{old}\n\n{text}"
    return f"{head} -->\n{text}"


def missing(cell: Cell, text: str) -> Entry:
    """The entry of a cell without translation. text: its English, as shown."""
    return Entry(cell.id, "missing", text, shown=linkless(text), raw=text)


def linkless(text: str) -> str:
    """The hash of a text whatever its links point to: they move with pages."""
    return digest(replace_targets(text, dict.fromkeys(targets(text), "_")))
