"""The pages of one language as Sphinx reads them, and the notebooks to download."""

import json
import shutil
from base64 import b64encode
from pathlib import Path

from nbformat import v4

from helpers.course import IN_BADGES
from translations import bars, building, outputs
from translations.direction import framed
from translations.edition import Edition
from translations.pages import Page
from translations.site import links, wording
from translations.sync import write
from translations.targets import headings

TOCTREE = "```{toctree}\n:hidden:\n\n"


def stale(root: Path, pages: list[Page]) -> list[str]:
    """The names of lessons with outputs of other code or data, or not whole."""
    lessons = (page for page in pages if page.name != "README")
    return [page.name for page in lessons if outputs.fault(root, page)]


def prepare(
    course: links.Course, edition: Edition, source: Path, downloads: Path
) -> str:
    """Writes a language's pages into source, its notebooks without outputs elsewhere.

    edition: of English too; source, downloads: folders. Gives the title of the course
    in that language.
    """
    language, pages = edition.language, course.pages()
    if language != "en":
        building.build(edition, course.built, frames=False)
    title = _landing(course, pages, edition, source)
    for page in edition.pages.values():
        if page.name in course.languages[language] and page.name != "README":
            _lesson(course, pages, edition, page, source, downloads)
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
    # The badges are pictures from other servers; the site has a bar of its own.
    text = bars.BLOCK.sub("", IN_BADGES.sub("", text))
    text, _, pictures = links.moved(course, pages, edition.language, "README", text)
    _copy(pictures, source)
    listed = [n for n in course.languages[edition.language] if n != "README"]
    listed += [path.stem for path in course.aside()] * (edition.language == "en")
    names = "\n".join(f"notebooks/{name}" for name in listed)
    write(source / "index.md", f"{text}\n\n{TOCTREE}{names}\n```\n")
    return headings(text)[0]


def _lesson(
    course: links.Course,
    pages: links.Pages,
    edition: Edition,
    page: Page,
    source: Path,
    downloads: Path,
) -> None:
    """Writes one lesson twice: with outputs for the site, without to download."""
    language, name = edition.language, page.name
    text = course.file(language, name).read_text(encoding="utf-8")
    site, alone = json.loads(text), json.loads(text)
    blocks, words, section = edition.outputs(page).blocks, wording.strings(language), ""
    for shown, kept in zip(site["cells"], alone["cells"], strict=True):
        if shown["cell_type"] == "code":
            block = outputs.worded(blocks.get(shown["id"], ""), edition.words)
            shown["outputs"] = _outputs(course.root, block)
            _dress(shown["metadata"], words, section, outputs.alt(block))
            continue
        old = "".join(kept["source"])
        section = (headings(old) or [section])[-1]
        text, own, pictures = links.moved(course, pages, language, name, old)
        shown["source"], kept["source"] = text, framed(own)
        _copy(pictures, source)
    write(source / "notebooks" / f"{name}.ipynb", _json(site))
    write(downloads / f"{name}.ipynb", _json(alone))


def _outputs(root: Path, block: str) -> list[dict]:
    """An output of the reading edition as those of a notebook."""
    found = []
    for kind, text in outputs.for_notebook(block):
        if kind == "text":
            found.append(v4.new_output("stream", text=text))
        elif kind == "figure":
            content = (root / "translations" / outputs.FIGURES / text).read_bytes()
            data = {"image/png": b64encode(content).decode("ascii")}
            found.append(v4.new_output("display_data", data=data))
        else:
            found.append(v4.new_output("display_data", data={"text/html": text}))
    return found


def _dress(metadata: dict, words: dict, section: str, alt: str) -> None:
    """Adds to a code cell's metadata what its figures are, and whether it is folded.

    alt: what a figure of it shows, in the words of the code.
    """
    fold = {"code_prompt_show": words["show"], "code_prompt_hide": words["hide"]}
    place = words["figure"].format(section=section)
    picture = {"alt": f"{place}: {alt}" if alt else place}
    metadata["mystnb"] = {"image": picture} | fold
    if metadata.get("jupyter", {}).get("source_hidden"):
        metadata["tags"] = [*metadata.get("tags", []), "hide-input"]


def _copy(pictures: list[Path], source: Path) -> None:
    for picture in pictures:
        (source / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, source / "images")


def _json(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
