"""Where a link of the course leads from a page of the site."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from translations.bars import relative
from translations.links import OUTSIDE
from translations.targets import replace_targets, targets

Pages = dict[Path, tuple[str, str]]
PICTURES = {".gif", ".jpg", ".png", ".svg"}
NOWHERE = "nowhere:"  # stands for a target that the site does not have
LINK = re.compile(rf"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\({NOWHERE}\)")


@dataclass(frozen=True)
class Course:
    """What links are resolved against.

    root: the course; built: the folder of `building.build`, LANG/... below it;
    languages: {code of the site: its pages, "README" and the lessons}, "en" among them;
    address: the public repository, or "".
    """

    root: Path
    built: Path
    languages: dict[str, tuple[str, ...]]
    address: str

    def file(self, language: str, name: str) -> Path:
        """The file that holds a page as it is read before the site's links."""
        folder = self.root if language == "en" else self.built / language
        if name == "README":
            return folder / "README.md"
        page = self.root / "notebooks" / f"{name}.md"
        return page if page in self.aside() else folder / f"notebooks/{name}.ipynb"

    def aside(self) -> list[Path]:
        """The pages beside the lessons, which are in English only."""
        return sorted((self.root / "notebooks").glob("*.md"))

    def pages(self) -> Pages:
        """{file: (language, page of the site without its suffix)}."""
        found = {path: ("en", f"notebooks/{path.stem}") for path in self.aside()}
        for language, names in self.languages.items():
            for name in names:
                page = "index" if name == "README" else f"notebooks/{name}"
                found[self.file(language, name)] = (language, page)
                artifact = self.root / "translations" / language / f"{name}.md"
                found[artifact] = (language, page)
        return found


def moved(
    course: Course, pages: Pages, language: str, name: str, text: str
) -> tuple[str, str, list[Path]]:
    """(text for the site, text for a notebook to download, pictures).

    pages: `course.pages()`; pictures: the files that the text shows.
    """
    here = course.file(language, name)
    site, alone, pictures = {}, {}, []
    for target in targets(text):
        path, mark, anchor = target.partition("#")
        if OUTSIDE.match(target) or not path:
            continue
        goal = Path(os.path.normpath(here.parent / path))
        if goal in pages:
            site[target] = _page(pages, here, goal) + mark + anchor
            if pages[goal][0] != language or goal in course.aside():
                alone[target] = _repository(course, goal, mark + anchor)
        elif goal.suffix in PICTURES and goal.is_file():
            pictures.append(goal)
            site[target] = relative(f"images/{goal.name}", pages[here][1])
        else:
            site[target] = alone[target] = _repository(course, goal, mark + anchor)
    return _replaced(text, site), _replaced(text, alone), pictures


def _page(pages: Pages, here: Path, goal: Path) -> str:
    """The target of a page of the site, from another one."""
    (language, page), (from_language, from_page) = pages[goal], pages[here]
    if language == from_language:
        text = page == "index" or goal.match("notebooks/*.md")
        return relative(page + (".md" if text else ".ipynb"), from_page)
    goal = f"{language}/{page}.html"
    return "site:" + relative(goal, f"{from_language}/{from_page}")


def _repository(course: Course, goal: Path, anchor: str) -> str:
    """The public address of a file of the course, or NOWHERE."""
    if not course.address or not goal.is_relative_to(course.root):
        return NOWHERE
    kind = "tree" if goal.is_dir() else "blob"
    path = goal.relative_to(course.root).as_posix()
    return f"{course.address}/{kind}/HEAD/{path}{anchor}"


def _replaced(text: str, mapping: dict[str, str]) -> str:
    """The text with other targets; a link to nowhere becomes its words."""
    return LINK.sub(lambda found: found[1], replace_targets(text, mapping))
