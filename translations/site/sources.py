"""The pages of one language as Sphinx reads them, and the notebooks to download."""

import json
import os
import shutil
from pathlib import Path

from helpers.course import IN_BADGES, MIME
from translations import building
from translations.edition import Edition
from translations.site import links, wording
from translations.sync import write
from translations.targets import headings

WIDGET = "application/vnd.jupyter.widget-view+json"
TOCTREE = "```{toctree}\n:hidden:\n\n"


def lessons(root: Path) -> list[Path]:
    """The paths of the English notebooks."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def stale(root: Path, run: Path) -> list[str]:
    """The names of the lessons that a run lacks, or ran with other code."""
    return [path.stem for path in lessons(root) if not _same_code(path, run)]


def _same_code(path: Path, run: Path) -> bool:
    done = building.executed(run, path.stem)
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        # The set-up cell prints nothing, and the public address is stamped into it.
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "setup" not in tags:
            ran = done.get(cell["id"])
            if not ran or "".join(ran["source"]) != "".join(cell["source"]):
                return False
    return True


def prepare(
    course: links.Course, edition: Edition, run: Path, source: Path, downloads: Path
) -> str:
    """Writes a language's pages into source, its notebooks without outputs elsewhere.

    edition: of English too; run: the folder of an English run; source, downloads:
    folders. Gives the title of the course in that language.
    """
    language, pages = edition.language, course.pages()
    if language != "en":
        building.build(edition, course.built, run)
    title = _landing(course, pages, edition, source)
    words = wording.strings(language)
    for path in lessons(course.root):
        text = path.read_text(encoding="utf-8")
        if language == "en":
            text = building.notebook(path, {}, building.executed(run, path.stem))
        else:
            text = course.file(language, path.stem).read_text(encoding="utf-8")
        _lesson(course, pages, language, path.stem, text, words, source, downloads)
    for path in course.aside() if language == "en" else ():
        text = path.read_text(encoding="utf-8")
        text, _, pictures = links.moved(course, pages, "en", path.stem, text)
        _copy(pictures, source)
        write(source / "notebooks" / path.name, text)
    wording.write_catalogue(language, source / "locale")
    return title


def _landing(
    course: links.Course, pages: links.Pages, edition: Edition, source: Path
) -> str:
    """Writes the first page, README; its title."""
    text = course.file(edition.language, "README").read_text(encoding="utf-8")
    # The badges are pictures from other servers.
    text = IN_BADGES.sub("", text)
    text, _, pictures = links.moved(course, pages, edition.language, "README", text)
    _copy(pictures, source)
    listed = lessons(course.root) + course.aside() * (edition.language == "en")
    names = "\n".join(f"notebooks/{path.stem}" for path in listed)
    write(source / "index.md", f"{text}\n\n{TOCTREE}{names}\n```\n")
    return headings(text)[0]


def _lesson(
    course: links.Course,
    pages: links.Pages,
    language: str,
    name: str,
    text: str,
    words: dict,
    source: Path,
    downloads: Path,
) -> None:
    """Writes one lesson twice: with outputs for the site, without to download."""
    # Outputs may name a path of the machine they are from.
    here = json.dumps(f"{course.root}{os.sep}")[1:-1]
    site, alone = json.loads(text.replace(here, "")), json.loads(text)
    section = ""
    for shown, kept in zip(site["cells"], alone["cells"], strict=True):
        if shown["cell_type"] == "code":
            kept["outputs"], kept["execution_count"] = [], None
            shown["outputs"] = [o for o in shown["outputs"] if _seen(o)]
            _dress(shown["metadata"], words, section)
            continue
        old = "".join(kept["source"])
        section = (headings(old) or [section])[-1]
        moved = links.moved(course, pages, language, name, old)
        shown["source"], kept["source"], pictures = moved
        _copy(pictures, source)
    write(source / "notebooks" / f"{name}.ipynb", _json(site))
    write(downloads / f"{name}.ipynb", _json(alone))


def _dress(metadata: dict, words: dict, section: str) -> None:
    """Adds to a code cell's metadata what its figures are, and whether it is folded."""
    fold = {"code_prompt_show": words["show"], "code_prompt_hide": words["hide"]}
    picture = {"alt": words["figure"].format(section=section)}
    metadata["mystnb"] = {"image": picture} | fold
    if metadata.get("jupyter", {}).get("source_hidden"):
        metadata["tags"] = [*metadata.get("tags", []), "hide-input"]


def _seen(output: dict) -> bool:
    """Whether a reader without a kernel sees anything of an output.

    Widgets of a headless run are progress bars; the course's own controls leave a
    figure or a table there (`helpers.widgets`).
    """
    data = output.get("data", {})
    data.pop(MIME, None)
    return not data.pop(WIDGET, None) or set(data) != {"text/plain"}


def _copy(pictures: list[Path], source: Path) -> None:
    for picture in pictures:
        (source / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, source / "images")


def _json(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
