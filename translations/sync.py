"""Bring translated pages up to date with the English, without losing a word.

A translator's text is kept as it is, but for what is copied: code, link targets, the
ledger's figures. Where a text cannot be placed with certainty, nothing is written.
"""

from dataclasses import replace
from pathlib import Path

from helpers.files import write_text
from translations import artifact, heads, sidecar
from translations.artifact import Entry
from translations.edition import ENGLISH, Edition
from translations.links import repaired
from translations.markdown_blocks import Block, blocks
from translations.outputs import put
from translations.pages import Cell, Page, PageError, shown
from translations.targets import copy_code

CODE = "fence python"  # the kind of the one block of a code cell
OPEN = ("missing", "done")  # what a comment says in the place of a hash
UNDATED = "its comment does not say of which English this is the text; if of today's,"
UNDATED += " write `source: {}` there and run `sync`"
FOLDED = ["html_block", CODE, "html_block"]  # the kinds of one that is folded


def page_text(edition: Edition, page: Page) -> str:
    """The up-to-date text of a translated page. Raises PageError."""
    ours = edition.language != ENGLISH
    found, english = edition.matched(page) if ours else {}, edition.english(page)
    kept, entries = edition.outputs(page), []
    blocks, links = kept.blocks if kept else {}, edition.aliases(page)
    for cell in page.cells:
        if cell.code:
            if ours:
                check_code_only(edition, page, cell)
            text = put(shown(cell), blocks.get(cell.id, ""), edition.words)
            entries.append(Entry(cell.id, cell.hash, text))
        elif not ours:
            entries.append(Entry(cell.id, cell.hash, english[cell.id]))
        else:
            entry = found.get(cell.id)
            if entry and (message := undated(cell, entry)):
                where = f"{edition.name(page)}:{entry.line}: {cell.id}"
                raise PageError(f"{where}: {message}")
            entry = _decided(cell, entry, english[cell.id])
            entries.append(_copied(cell, entry, links | edition.links(page)))
    if ours:
        used = {entry.id for entry in found.values()}
        lost = [e for e in edition.entries(page).values() if e.id not in used]
        entries += [_removed(entry) for entry in lost if _is_work(entry)]
    head, places = heads.head(edition, page), edition.ledger(page)
    return artifact.write(head, entries, english, edition.words, places)


def check_code_only(edition: Edition, page: Page, cell: Cell) -> None:
    """Refuses a code cell with a text beside the code: sync would overwrite it.

    Most often it is the text of the cell below, whose comment was deleted.
    """
    found = edition.matched(page)
    entry = found.get(cell.id)
    if not entry or not entry.raw or _is_code(entry):
        return
    parts = blocks(entry.raw)
    other = list(range(_code_length(parts), len(parts)))
    after = page.cells[page.cells.index(cell) + 1 :][:1]
    message = f"cell {cell.id} is code; move what is not code into another cell"
    if other and other[0] and after and not after[0].code and after[0].id not in found:
        message = f"no cell holds the text below the code of cell {cell.id}"
        message += artifact.deleted(after[0])
    line = entry.line + (parts[other[0]].line if other else 0)
    raise PageError(f"{edition.name(page)}:{line}: {message}")


def _is_code(entry: Entry) -> bool:
    parts = blocks(entry.raw)
    return 0 < len(parts) == _code_length(parts)


def _code_length(parts: tuple[Block, ...]) -> int:
    """How many blocks at the head are what `shown` makes of code."""
    kinds = [block.kind for block in parts]
    if kinds[:3] == FOLDED and not parts[2].prose.strip():
        return 3
    return int(kinds[:1] == [CODE])


def _is_work(entry: Entry) -> bool:
    """Whether a cell without English holds a translator's text."""
    return entry.touched if entry.source == "missing" else not _is_code(entry)


def _decided(cell: Cell, entry: Entry | None, english: str) -> Entry:
    """The entry of a text cell with its state of today."""
    if entry is None or entry.source == "missing" and not entry.touched:
        return artifact.missing(cell, english)
    source = entry.source
    if source in OPEN:  # of today's English, or an earlier one?
        same = entry.shown == artifact.linkless(cell.text)
        source = entry.now or (cell.hash if same else entry.shown)
    now = None if source == cell.hash else cell.hash
    changes = {"source": source, "now": now, "shown": None, "removed": False}
    return replace(entry, id=cell.id, **changes)


def _removed(entry: Entry) -> Entry:
    """The entry of a text without English, which may come back."""
    source = entry.now or entry.shown if entry.source in OPEN else entry.source
    return replace(entry, source=source or entry.source, now=None, removed=True)


def undated(cell: Cell, entry: Entry) -> str:
    """What to say of a text whose comment names no English, "" where it does."""
    bare = entry.source == "done" or entry.touched
    return UNDATED.format(cell.hash) if bare and not (entry.now or entry.shown) else ""


def _copied(cell: Cell, entry: Entry, links: dict[str, str]) -> Entry:
    """An entry of today with code and link targets as in the English."""
    if entry.source != cell.hash:
        return entry
    text = copy_code(cell.text, entry.text)
    return replace(entry, text=repaired(cell.text, text, links))


def sidecar_entries(edition: Edition) -> dict[str, dict]:
    """A language's sidecar: pages whose every cell is translated are renewed."""
    old, entries = sidecar.read(edition.folder), {}
    for page in edition.own:
        path = page.path
        states = edition.counts(page)
        if states["current"] == len(page.cells):
            new = sidecar.entry(edition.root, page, edition.language, old.get(path))
            entries[path] = new
        elif path in old:
            entries[path] = old[path]
    return entries


def write(path: Path, text: str) -> bool:
    """Writes a text file that appears whole or not at all. Whether it changed."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return True
