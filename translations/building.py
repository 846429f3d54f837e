"""Make pages that a reader opens: localized notebooks and README.

The folder has the layout of Co-op Translator, LANG/notebooks/NN_x.ipynb beside
LANG/README.md, so that `co-op-review --output` can review it. A text that is not up to
date, or breaks a rule, is shown in English below a notice.
"""

import json
from functools import cache
from pathlib import Path

from helpers.language import KEY
from translations import bars, sidecar
from translations.checking import good_cells
from translations.direction import framed
from translations.edition import Edition
from translations.labels import disclaimer
from translations.links import anchor_map, link_map
from translations.outputs import name_of
from translations.pages import LINE, Cell, Page, PageError, filled
from translations.sync import write
from translations.targets import replace_targets

OUT_OF_DATE = "Out of date: the English text is shown."
UNTRANSLATED = "Not translated yet."


def build(edition: Edition, folder: Path, frames: bool = True) -> int:
    """Writes a language's pages below folder/LANG, and gives their number.

    README, which leads to them, is among them even where nobody has begun it. frames:
    whether the notebooks are for editors, which need to be told of right to left.
    """
    folder = folder.resolve() / edition.language
    good = cache(lambda path: _good(edition, edition.pages[path]))
    pages = {page.path: page for page in edition.read}
    places = {path: (folder / path).as_posix() for path in pages}
    places |= {name_of(page): places[path] for path, page in pages.items()}

    @cache
    def anchors(path: str) -> dict[str, str]:
        page = edition.pages.get(path)
        return anchor_map(page, good(path)) if page else {}

    for path, page in pages.items():
        links = link_map(edition.root, page, places[path], places, anchors)
        texts = _texts(edition, page, good(path), links)
        if path.endswith(".ipynb"):
            if frames:
                texts = {name: framed(text) for name, text in texts.items()}
            made = notebook(edition.root / path, texts, edition.language)
            write(folder / path, made)
        else:
            write(folder / path, "\n\n".join(texts.values()) + "\n")
    if entries := sidecar.read(edition.folder):
        write(folder / sidecar.NAME, sidecar.text(entries))
    return len(pages)


def _good(edition: Edition, page: Page) -> dict[str, str]:
    """{id: translated text} of the texts that may be shown."""
    try:
        entries, good = edition.entries(page), good_cells(edition, page)
    except PageError:
        return {}
    return {name: entries[name].text for name in good}


def _texts(
    edition: Edition, page: Page, good: dict[str, str], links: dict[str, str]
) -> dict[str, str]:
    """{id: text to show} of a page's text cells, in their order."""
    moved = {edition.links(page)[old]: new for old, new in links.items()}
    ledger, shown = edition.ledger(page), {}
    begun = edition.has(page)
    for cell in (cell for cell in page.cells if not cell.code):
        if not begun and shown:  # one notice, at the head, says so
            text = replace_targets(cell.text, links)
        elif cell.id in good:
            text = replace_targets(good[cell.id], moved)
        else:
            text = _with_notice(edition, page, cell, links)
        text = filled(text, ledger).replace(f" {LINE}", "")
        # README's bar of languages leads to the files that are translated.
        shown[cell.id] = bars.BLOCK.sub("", text)
    head = next(iter(shown))
    shown[head] += f"\n\n*{disclaimer(edition.words)}*"
    return shown


def _with_notice(
    edition: Edition, page: Page, cell: Cell, links: dict[str, str]
) -> str:
    """A cell's English text with a notice, below its heading if it has one."""
    phrase = OUT_OF_DATE
    try:
        entry = edition.matched(page).get(cell.id)
        phrase = phrase if entry and entry.source != "missing" else UNTRANSLATED
    except PageError:
        pass
    notice = f"> *{edition.words.say(phrase)}*"
    text = replace_targets(cell.text, links)
    head, _, rest = text.partition("\n")
    parts = [head, notice, rest.strip("\n")] if head[:1] == "#" else [notice, text]
    return "\n\n".join(part for part in parts if part)


def notebook(path: Path, texts: dict[str, str], language: str) -> str:
    """A notebook's JSON: texts exchanged, code as it is; it says its language."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["id"] in texts:
            cell["source"] = texts[cell["id"]].splitlines(keepends=True)
    content["metadata"][KEY] = {"language": language}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
