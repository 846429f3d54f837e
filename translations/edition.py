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
from translations import artifact, glossary, labels
from translations.artifact import Entry
from translations.links import anchor_map, link_map
from translations.pages import BADGES, LINE, RESULTS, Page, PageError, read_text, shown
from translations.targets import replace_targets

# BCP 47: language, then perhaps a script and a region.
CODE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|\d{3}))?")
A_CODE = "a language code of BCP 47, such as fr, pt-BR or zh-Hant"


def languages(root: Path) -> list[str]:
    """The codes of the languages that have a page, sorted."""
    names = {page.parent.name for page in (root / "translations").glob("*/*.md")}
    return sorted(name for name in names if CODE.fullmatch(name))


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
    """A language's files. root: the course; pages: the English pages."""

    def __init__(self, root: Path, pages: Iterable[Page], language: str) -> None:
        self.root, self.language = root, language
        self.pages = {page.path: page for page in pages}
        self.folder = root / "translations" / language
        self.places = {path: self.name(page) for path, page in self.pages.items()}
        self.glossary = glossary.read(self.folder)
        self.words = labels.wording(language, self.glossary.phrases)
        # Each is asked for many times in one command, while the files do not change.
        self.text, self.entries = cache(self.text), cache(self.entries)
        self.texts, self.anchors = cache(self.texts), cache(self.anchors)
        self.links = cache(self.links)

    def name(self, page: Page) -> str:
        """A page's file as messages name it, from the root."""
        return f"translations/{self.language}/{page.name}.md"

    def text(self, page: Page) -> str | None:
        """A page's file content, or None where there is no file. Raises PageError."""
        path = self.root / self.name(page)
        return read_text(self.root, self.name(page)) if path.exists() else None

    @cached_property
    def _measured(self) -> tuple[list[dict], str]:
        """The entries of the ledger, and the public address."""
        return read_ledger(self.root / "data" / "results"), declared(self.root)

    def ledger(self, page: Page) -> dict[str, str]:
        """{comment: the part of the ledger's in its place}, in this language."""
        entries, url = self._measured
        line = measured_line(page.name, entries, url, self.words)
        parts = {LINE: f"{line} {LINE}", BADGES: badges_block(url, self.words)}
        return parts | {RESULTS: results_block(entries, self.words)}

    def entries(self, page: Page) -> dict[str, Entry]:
        """{id: Entry} of a page's file. Raises PageError."""
        text = self.text(page)
        first = page.cells[0].id if page.cells else None
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
        here = self.name(page)
        return link_map(self.root, page, here, self.places, self.anchors)

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
        for cell in page.cells:
            entry = found.get(cell.id)
            counts[entry.state(cell) if entry else "missing"] += 1
        return counts

    def begun(self, page: Page) -> bool:
        """Whether a translator has written anything in a page."""
        found = self.matched(page)
        prose = [found[c.id] for c in page.cells if not c.code and c.id in found]
        return any(entry.source != "missing" or entry.touched for entry in prose)
