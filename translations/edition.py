"""One language's edition of the course: its files beside the English pages."""

import re
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path

from helpers.course import (
    badges_block,
    declared,
    measured_line,
    read_ledger,
    results_block,
)
from translations import artifact, bars, glossary, labels, outputs
from translations.artifact import Entry
from translations.direction import steady
from translations.labels import OWN_NAME, in_units
from translations.links import Anchors, anchor_map, link_map
from translations.pages import (
    BADGES,
    LANGUAGES,
    LINE,
    RESULTS,
    Page,
    PageError,
    read_text,
    shown,
)
from translations.targets import replace_targets, targets

# BCP 47: language, then perhaps a script and a region.
ENGLISH = "en"
COMPLETE = ("es", "pt-BR", "ro", "ru")  # all lessons are wanted in these
CODE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|\d{3}))?")
# A text cell that is translated, or was: neither code nor English.
BEGUN = re.compile(
    r"^<!-- cell: \S+ source: (?:[0-9a-f]{16}|done)(?: now: [0-9a-f]{16})?(?: -->)?\n"
    r"(?!`{3}|<details><summary><code>)",
    re.MULTILINE,
)
A_CODE = "a language code of BCP 47, such as fr, pt-BR or zh-Hant"


def languages(root: Path) -> list[str]:
    """The codes of the languages that have a page, sorted, without English."""
    names = {page.parent.name for page in (root / "translations").glob("*/*.md")}
    return sorted(n for n in names if CODE.fullmatch(n) and n != ENGLISH)


def begun_pages(root: Path) -> dict[str, list[str]]:
    """{language: names of the pages that somebody has begun to translate}.

    English first, with its reading edition; languages with no such page are left out.
    """
    found = {}
    for language in (ENGLISH, *languages(root)):
        files = sorted((root / "translations" / language).glob("*.md"))
        texts = {file.stem: file.read_text("utf-8", "ignore") for file in files}
        texts = {n: t.replace("\r\n", "\n") for n, t in texts.items()}
        names = [name for name, text in texts.items() if BEGUN.search(text)]
        if names or language == ENGLISH:
            found[language] = names
    return found


def misnamed(root: Path) -> list[str]:
    """Messages about folders that hold lessons and are no language's."""
    lessons = (root / "translations").glob("*/[0-9][0-9]_*.md")
    names = {lesson.parent.name for lesson in lessons}
    message = f"not {A_CODE}; rename the folder"
    return [
        f"translations/{name}: {message}"
        for name in sorted(names)
        if not CODE.fullmatch(name)
    ]


class Edition:
    """A language's files, the reading edition in English among them.

    root: the course; pages: the English pages; taken: {page's name: Outputs} of a run,
    in the place of those that the English edition keeps.
    """

    def __init__(
        self,
        root: Path,
        pages: Iterable[Page],
        language: str,
        taken: dict | None = None,
    ) -> None:
        self.root, self.language, self.taken = root, language, taken or {}
        self.pages = {page.path: page for page in pages}
        self.folder = root / "translations" / language
        self.glossary = glossary.read(self.folder)
        self.words = labels.wording(language, self.glossary.phrases)
        # Each is asked for many times in one command, while the files do not change.
        self.text, self.entries = cache(self.text), cache(self.entries)
        self.texts, self.anchors = cache(self.texts), cache(self.anchors)
        self.links, self.outputs = cache(self.links), cache(self.outputs)

    def name(self, page: Page) -> str:
        """A page's file as messages name it, from the root."""
        return f"translations/{self.language}/{page.name}.md"

    def text(self, page: Page) -> str | None:
        """A page's file content, or None where there is no file. Raises PageError."""
        path = self.root / self.name(page)
        return read_text(self.root, self.name(page)) if path.exists() else None

    @property
    def own(self) -> list[Page]:
        """The pages that the language is to have: all, or those with a file."""
        if self.language == ENGLISH:
            return [page for page in self.pages.values() if page.name != "README"]
        pages = list(self.pages.values())
        whole = self.language in COMPLETE
        return pages if whole else [p for p in pages if self._file(p).exists()]

    @property
    def read(self) -> list[Page]:
        """The pages that a reader finds in this language, and README."""
        return [p for p in self.pages.values() if p.name == "README" or self.has(p)]

    def _file(self, page: Page) -> Path:
        return self.root / self.name(page)

    @cached_property
    def places(self) -> dict[str, str]:
        """{English page: its translation, or where it is read instead}."""
        found = {}
        for path, page in self.pages.items():
            read = outputs.name_of(page)
            english = read if (self.root / read).exists() else path
            ours = self.has(page)
            found[path] = self.name(page) if ours else english
            found[read] = self.name(page) if ours else read
        return found

    def has(self, page: Page) -> bool:
        """Whether a reader finds a page in this language."""
        try:
            return self._file(page).exists() and self.begun(page)
        except PageError:  # that page's own check names it
            return True

    @cached_property
    def languages(self) -> dict[str, tuple[str, list[str]]]:
        """{language: (what it calls itself, names of its pages)} of all that are begun.

        A language whose glossary does not say so goes by its code.
        """
        found = {ENGLISH: ("English", [])}
        for language, names in begun_pages(self.root).items():
            phrases = glossary.read(self.root / "translations" / language).phrases
            own = phrases.get(OWN_NAME) or found.get(language, (language,))[0]
            found[language] = own, names
        return found

    @cached_property
    def address(self) -> str:
        """The public address of the course, or ""."""
        return declared(self.root)

    def outputs(self, page: Page) -> outputs.Outputs | None:
        """What a lesson's cells print. Raises PageError."""
        return self.taken.get(page.name) or outputs.read(self.root, page)

    @cached_property
    def _measured(self) -> tuple[list[dict], str]:
        """The entries of the ledger, and the public address."""
        return read_ledger(self.root / "data" / "results"), self.address

    def ledger(self, page: Page) -> dict[str, str]:
        """{comment: what tools write in its place}, in this language."""
        entries, url = self._measured
        line = in_units(measured_line(page.name, entries, url, self.words), self.words)
        parts = {LINE: f"{steady(line)} {LINE}", BADGES: badges_block(url, self.words)}
        parts |= {RESULTS: in_units(results_block(entries, self.words), self.words)}
        return parts | {LANGUAGES: bars.block(self.languages, self.name(page))}

    def entries(self, page: Page) -> dict[str, Entry]:
        """{id: Entry} of a page's file. Raises PageError."""
        text = self.text(page)
        first = page.cells[0] if page.cells else None
        return {} if text is None else artifact.read(self.name(page), text, first)

    def matched(self, page: Page) -> dict[str, Entry]:
        """{id: Entry} of the cells that the English page has.

        A cell that only changed its name is known by its hash.
        """
        entries = self.entries(page)
        ids = {cell.id for cell in page.cells}
        lost = {e.source: e for e in entries.values() if e.id not in ids}
        found = {c.id: entries.get(c.id) or lost.get(c.hash) for c in page.cells}
        return {name: entry for name, entry in found.items() if entry}

    def texts(self, page: Page) -> dict[str, str]:
        """{id: text} of what the page shows, links as they are."""
        found, texts = self.matched(page), {}
        for cell in page.cells:
            entry = found.get(cell.id)
            ours = entry and not cell.code
            ours = ours and (entry.source != "missing" or entry.touched)
            texts[cell.id] = entry.text if ours else shown(cell)
        return texts

    def anchors(self, path: str) -> dict[str, str]:
        """{English anchor: translated anchor} of a page, by its path."""
        page = self.pages.get(path)
        try:
            return anchor_map(page, self.texts(page)) if page else {}
        except PageError:  # that page's own check names it
            return {}

    def links(self, page: Page) -> dict[str, str]:
        """{English target: target in the translated page}."""
        return self._moved(page, self.places, self.anchors)

    def _moved(self, page: Page, places: dict[str, str], anchors: Anchors) -> dict:
        """{English target: its target where the pages are at these places}."""
        linked = {t for cell in page.cells for t in targets(cell.text) if not cell.code}
        # README offers both, the lesson to read and the notebook.
        both = [p for p in self.pages if outputs.name_of(self.pages[p]) in linked]
        places = places | {path: path for path in both}
        return link_map(self.root, page, self.name(page), places, anchors)

    def aliases(self, page: Page) -> dict[str, str]:
        """{target: target of today}, for links from before a page was begun."""
        links, found = self.links(page), {}
        for name in (self.name, outputs.name_of, lambda page: page.path):
            places = {path: name(page) for path, page in self.pages.items()}
            places |= {outputs.name_of(p): name(p) for p in self.pages.values()}
            for anchors in (self.anchors, lambda path: {}):
                old = self._moved(page, places, anchors)
                found |= {old[t]: links[t] for t in links}
        return found

    def english(self, page: Page) -> dict[str, str]:
        """{id: English text, its links as the translated page needs them}."""
        links = self.links(page)
        return {
            c.id: shown(c) if c.code else replace_targets(c.text, links)
            for c in page.cells
        }

    def counts(self, page: Page) -> dict[str, int]:
        """{"current": n, "stale": n, "missing": n} of a page's cells."""
        found, counts = self.matched(page), dict.fromkeys(artifact.STATES, 0)
        kept = self.outputs(page) if self.language == ENGLISH else None
        now = outputs.code_of(page), outputs.data_hash(self.root, page)
        old = kept and (kept.code, kept.data) != now  # what the code printed
        for cell in page.cells:
            entry = found.get(cell.id)
            state = entry.state(cell) if entry else "missing"
            counts["stale" if old and cell.code else state] += 1
        return counts

    def begun(self, page: Page) -> bool:
        """Whether a translator has written anything in a page."""
        found = self.matched(page)
        prose = [found[c.id] for c in page.cells if not c.code and c.id in found]
        return any(entry.source != "missing" or entry.touched for entry in prose)
