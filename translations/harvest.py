"""Take what the cells of English lessons printed out of a run of `make course`."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path, PurePath

from helpers.course import machine
from helpers.files import whole
from translations.outputs import (
    FIGURES,
    RESULTS,
    Outputs,
    code_hash,
    code_of,
    data_files,
    data_hash,
    read,
)
from translations.outputs import figures as figures_of
from translations.pages import Page, PageError
from translations.rendering import rendered

INJECTED = "injected-parameters"  # papermill's tag
# Where a package lies on the machine, in a warning of its.
PACKAGES = re.compile(r"(?:/|[A-Z]:\\)[^\s'\"]*?site-packages[/\\]")
ADDRESS = re.compile(r"\b0x[0-9a-f]{8,}\b")


def take(root: Path, pages: list[Page], run: Path) -> tuple[dict, list[str]]:
    """({name: Outputs}, messages) of the lessons of a run; writes their figures.

    run: the folder of `make course`. A lesson that ran other code, or with other
    parameters, is left out, with a message. Raises PageError where there is no run.
    """
    known, found, messages = {page.name: page for page in pages}, {}, []
    for name, (profile, book) in _books(run).items():
        page = known.get(name)
        if page is None or _code(book, page) != code_of(page):
            messages.append(f"{run}: {name} ran other code than today's; run it again")
        elif own := _parameters(book):
            messages.append(f"{run}: {name} ran with -p {own}; run it again without")
        elif new := _newer(root, page, book):
            changed = f"{RESULTS}/{new} has changed since {name} ran; run it again"
            messages.append(f"{run}: {changed}")
        else:
            old = read(root, page)
            found[name] = outputs(root, page, book, profile)
            if old and old.profile != profile:
                print(f"warning: {name}: {profile} takes the place of {old.profile}")
    for path in sorted((run / "failed").glob("*.ipynb")):
        print(f"warning: {path}: this lesson failed; its outputs are as they were")
    return found, messages


def _books(run: Path) -> dict[str, tuple[str, dict]]:
    """{lesson: (profile, executed notebook)} of a run. Raises PageError."""
    path, books = run / "course.json", {}
    try:
        for row in json.loads(path.read_text(encoding="utf-8")):
            name, profile = row["lesson"], row["profile"]
            path = run / f"notebooks/{name}.ipynb"
            books[name] = profile, json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PageError(f"{path}: {error}; run `make course` first") from None
    if not books:
        raise PageError(f"{path}: no lesson ran to its end; run `make course` first")
    return books


def _parameters(book: dict) -> str:
    """What a run set besides the profile, "" for nothing."""
    found = book["metadata"].get("papermill", {}).get("parameters", {})
    return ", ".join(f"{n} {v}" for n, v in found.items() if n != "PROFILE")


def _newer(root: Path, page: Page, book: dict) -> str:
    """A file that the lesson reads and that was written after it began, "" for none."""
    began = book["metadata"].get("papermill", {}).get("start_time")
    at = datetime.fromisoformat(began).timestamp() if began else float("inf")
    files = data_files(root, page)
    return next((file.name for file in files if file.stat().st_mtime > at), "")


def _code(book: dict, page: Page) -> str:
    """The `code_hash` of an executed notebook; the run adds a cell of parameters."""
    setup = {cell.id for cell in page.cells if cell.setup}
    ran = [cell for cell in _code_cells(book) if cell["id"] not in setup]
    own = [c for c in ran if INJECTED not in c["metadata"].get("tags", [])]
    return code_hash([(cell["id"], "".join(cell["source"])) for cell in own])


def _code_cells(book: dict) -> list[dict]:
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def outputs(root: Path, page: Page, book: dict, profile: str) -> Outputs:
    """The outputs of an executed notebook; its figures are written."""
    folder, shown = root / "translations" / FIGURES, {}
    ran = book["metadata"].get("papermill", {})
    places = [root, Path.home()]
    if where := ran.get("input_path"):  # ROOT/notebooks/NAME.ipynb
        places.insert(0, PurePath(where).parent.parent)
    blocks = {}
    for cell in _code_cells(book):
        stem = f"{page.name[:2]}-{cell['id']}"

        def picture(content: bytes, stem=stem) -> str:
            more = sum(name.startswith(f"{stem}.") for name in shown)
            name = f"{stem}.{more + 1}.png" if more else f"{stem}.png"
            shown[name] = content
            return f"../{FIGURES}/{name}"

        clean = lambda text: cleaned(text, places)  # noqa: E731
        blocks[cell["id"]] = rendered(cell["outputs"], clean, picture)
    _keep(folder, page.name[:2], shown)
    blocks = {name: text for name, text in blocks.items() if text}
    assert figures_of(blocks) == set(shown)
    date = ran.get("end_time", datetime.now(UTC).isoformat())[:10]
    known = code_of(page), data_hash(root, page)
    return Outputs(profile, machine()["device"], date, *known, blocks)


def _keep(folder: Path, number: str, shown: dict[str, bytes]) -> None:
    """Makes these the figures of a lesson."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in shown.items():
        with whole(folder / name, "wb") as stream:
            stream.write(content)
    for old in folder.glob(f"{number}-*.png"):
        if old.name not in shown:
            old.unlink()


def cleaned(text: str, places: list) -> str:
    """A text without what is the machine's: folders, addresses in memory."""
    # Not the root of a disk, nor a name that may be a word.
    for place in (str(p) for p in places if len(PurePath(p).parts) > 1):
        here = rf"(?<![\w.-]){re.escape(place)}"
        text = re.sub(rf"{here}[/\\]\.venv[/\\][^\s'\"]*site-packages[/\\]", "", text)
        text = re.sub(rf"{here}(?:[/\\]|(?![\w-]|\.\w))", "", text)
    return ADDRESS.sub("0x...", PACKAGES.sub("", text))
