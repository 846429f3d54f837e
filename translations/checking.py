"""Name what is wrong in a translated page: file, line, cell, and what to do."""

from translations import artifact, bars, glossary, rules, sidecar
from translations.artifact import Entry
from translations.edition import COMPLETE, ENGLISH, Edition
from translations.markdown_blocks import blocks
from translations.outputs import FIGURES, fault, figures
from translations.pages import Cell, Page, PageError, filled, read_text
from translations.sync import check_code_only, page_text, sidecar_entries, undated

Said = tuple[int, str]  # a line, and what is said about it
STALE = "stale: the English has changed; bring the text up to date, then write"
STALE += " `source: {}` in the comment above it and run `sync`"
MISSING = "not translated; write the translation over the English, then run `sync`"
NOT_BEGUN = "not begun"
SYNC = {
    "code": "this code is not the English lesson's; run `sync`, which copies it",
    "absent": "this cell is not in the file; run `sync`",
    "touched": "translated since the last `sync`; run `sync`",
    "figures": "not today's figures of the ledger and phrases of the glossary; run"
    " `sync`",
    "form": "not as `sync` would write it (has a phrase of the glossary changed?); run"
    " `sync`",
    "languages": "the bar of languages is not today's; run `sync`",
    "order": "the cells are not in the order of the English; run `sync`",
}


def check_page(edition: Edition, page: Page) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a translated page, lists of one-line messages."""
    name = edition.name(page)
    try:
        if edition.language == ENGLISH:
            return [f"{name}:{n}: {said}" for n, said in _english(edition, page)], []
        if not edition.begun(page) and edition.language not in COMPLETE:
            form = [f"{name}:{n}: {said}" for n, said in _form(edition, page)]
            return form, [f"{name}: {NOT_BEGUN}"]
        found = _cells(edition, page)
        words, warnings = _glossary(edition, page)
        if not found:
            found = words + _form(edition, page)
    except PageError as error:
        return [str(error)], []
    for entry in edition.entries(page).values():
        if entry.removed:
            message = "gone from the English: use its text elsewhere or delete it"
            warnings.append((entry.line, f"{entry.id}: {message}"))
    both = ([f"{name}:{n}: {said}" for n, said in part] for part in (found, warnings))
    return tuple(both)


def _english(edition: Edition, page: Page) -> list[Said]:
    """[(line, message)] of a page of the reading edition in English."""
    if what := fault(edition.root, page):
        again = f'`make course pages LESSONS="{page.name[:2]}" RUN=build`'
        return [(1, f"{what}; run {again}")]
    return _form(edition, page)


def _cells(edition: Edition, page: Page) -> list[Said]:
    """[(line, message)] of all cells of a page."""
    entries, english = edition.entries(page), edition.english(page)
    ledger, messages = edition.ledger(page), []
    line, above = 1, None  # above: the id of a text just above that is too long
    for cell in page.cells:
        entry = entries.get(cell.id)
        if cell.code:
            check_code_only(edition, page, cell)
        line = entry.line if entry else line
        if above and (not entry or entry.source == "missing" and not entry.touched):
            found = [(0, _spilled(cell, above, entry))]
        else:
            found = _cell(cell, entry, english[cell.id], ledger)
        messages += [(line + n, f"{cell.id}: {said}") for n, said in found]
        long = entry and len(blocks(entry.text)) > len(blocks(english[cell.id]))
        above = cell.id if long and not cell.code else None
    ids = {cell.id: i for i, cell in enumerate(page.cells)}
    order = [ids[name] for name in entries if name in ids]
    if order != sorted(order):
        messages.append((1, SYNC["order"]))
    return messages


def _spilled(cell: Cell, above: str, entry: Entry | None) -> str:
    """What to say of a cell whose text seems to stand in the cell above it."""
    if entry:
        message = f"not translated, and {above} is too long: if the text is there, cut"
        return f"{message} it out, write it over this English, and run `sync`"
    where = f"its text seems to stand in {above}, above"
    return f"this cell is not in the file; {where}{artifact.deleted(cell)}"


def _cell(
    cell: Cell, entry: Entry | None, english: str, ledger: dict[str, str]
) -> list[Said]:
    """[(line in the cell, message)] of one cell."""
    if entry is None or entry.removed:
        return [(0, SYNC["absent"])]
    if cell.code:
        return [] if entry.state(cell) == "current" else [(0, SYNC["code"])]
    if message := undated(cell, entry):
        return [(0, message)]
    if entry.source == "missing":
        return [(0, SYNC["touched"] if entry.touched else MISSING)]
    if entry.source == "done":
        return [(0, SYNC["touched"])]
    if entry.source != cell.hash:
        return [(0, STALE.format(cell.hash))]  # no `done`: it may change once more
    for place in cell.places:
        if place not in entry.text.split("\n"):
            return [_place_lost(cell, place, entry.text)]
    found = rules.compare(english, entry.text)
    if not found and filled(entry.text, ledger) != entry.raw:
        return [(0, SYNC["figures"])]
    return found


def _place_lost(cell: Cell, place: str, text: str) -> Said:
    """(line in the cell, message): where a part of the ledger's belongs."""
    parts = cell.text.split("\n\n")
    at = next(i for i, part in enumerate(parts) if place in part.split("\n"))
    last = at == len(parts) - 1
    where = "at the end of the cell" if last else f"as paragraph {at + 1} of the cell"
    line = "\n\n".join(text.split("\n\n")[: None if last else at]).count("\n")
    what = f"what the ledger says is gone; put, {where}, a line {place} and run"
    return line, f"{what} `sync`"


def _glossary(edition: Edition, page: Page) -> list[list[Said]]:
    """[errors, warnings] of a page's words, each [(line, message)]."""
    entries = edition.entries(page)
    current = [
        (cell, entries[cell.id])
        for cell in page.cells
        if cell.id in entries and not cell.code and entries[cell.id].source == cell.hash
    ]
    pairs = [(cell.id, cell.text, entry.text) for cell, entry in current]
    parts = glossary.compare(edition.glossary, pairs)
    return [[(entries[n].line, f"{n}: {said}") for n, said in part] for part in parts]


def _form(edition: Edition, page: Page) -> list[Said]:
    same = page_text(edition, page) == edition.text(page)
    return [] if same else [(1, SYNC["form"])]


def good_cells(edition: Edition, page: Page) -> set[str]:
    """The ids of text cells that are up to date and break no rule."""
    entries, english = edition.entries(page), edition.english(page)
    ledger = edition.ledger(page)
    return {
        cell.id
        for cell in page.cells
        if not cell.code
        and not _cell(cell, entries.get(cell.id), english[cell.id], ledger)
    }


def check_folder(edition: Edition) -> list[str]:
    """What is wrong in a language's glossary, and in its files' names."""
    where = f"translations/{edition.language}"
    found = glossary.check(edition.folder) if edition.language != ENGLISH else []
    errors = [f"{where}/{glossary.NAME}:{n}: {said}" for n, said in found]
    if edition.language == ENGLISH:
        errors += _orphans(edition)
    names = {f"{page.name}.md" for page in edition.pages.values()}
    files = {path.name for path in edition.folder.glob("*.md")} - {glossary.NAME}
    for name in sorted(files - names):
        same = next((n for n in sorted(names) if n[:3] == name[:3]), None)
        remedy = f"its name is {same}" if same else "rename or delete the file"
        errors.append(f"{where}/{name}:1: no English page has this name; {remedy}")
    return errors


def _orphans(edition: Edition) -> list[str]:
    """Messages about figures that no page shows, and about README's languages."""
    shown = set()
    for page in edition.own:
        kept = edition.outputs(page)
        shown |= figures(kept.blocks) if kept else set()
    where, message = f"translations/{FIGURES}", "no page shows this figure; delete it"
    there = {path.name for path in (edition.root / where).glob("*")}
    errors = [f"{where}/{name}: {message}" for name in sorted(there - shown)]
    readme = read_text(edition.root, "README.md")
    same = bars.english(edition.languages, readme) == readme
    return errors if same else [*errors, f"README.md:1: {SYNC['languages']}"]


def check_sidecar(edition: Edition) -> list[str]:
    """The messages about a language's Co-op Translator metadata."""
    if edition.language == ENGLISH:
        return []
    try:
        same = sidecar.read(edition.folder) == sidecar_entries(edition)
    except PageError as error:
        return [str(error)]
    name = f"translations/{edition.language}/{sidecar.NAME}"
    return [] if same else [f"{name}:1: does not tell the state of today; run `sync`"]
