"""Which lesson runs in which language at a commit: one of each, others at every commit.

That every built notebook has the English cells is proven without running any
(test_localized_notebooks.py). What a run adds is the same for all of them: the file
opens, takes its parameters, finds its kernel and the course, and measures what the
English one does. So each language runs one lesson. Two of these are opened in
JupyterLab in a browser (tests/lessons/test_jupyterlab.py), as readers open them; the
others are the shortest and run headlessly.
"""

import json
import math
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

from helpers.course import usual_seconds
from helpers.files import ROOT
from helpers.language import KEY
from translations.checking import COMPLETE
from translations.edition import languages

LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
BUILT = languages(ROOT)
LANGUAGES = [name for name in BUILT if name in COMPLETE]


def with_cell(name: str) -> list[str]:
    """The lessons that have a cell of that id."""
    mark = f'"id": "{name}"'
    texts = {n: (ROOT / "notebooks" / f"{n}.ipynb").read_text("utf-8") for n in LESSONS}
    return [lesson for lesson, text in texts.items() if mark in text]


# The first, and that with a slider whose picture the kernel draws.
IN_A_BROWSER = ("00_start_here", *with_cell("explorer"))


_usual_seconds = cache(usual_seconds)


def seconds(lesson: str) -> float:
    """What the ledger says it takes on the profile tiny; no end where it is not in."""
    return _usual_seconds("tiny").get(lesson, math.inf)


def short_lessons() -> list[str]:
    """Those that run headlessly: the shortest, one for each other language."""
    others = [name for name in LESSONS if name not in IN_A_BROWSER]
    rest = len(LANGUAGES) - len(IN_A_BROWSER)
    return sorted(sorted(others, key=seconds)[:rest])


def commit() -> str:
    """The hash of the commit; where there is no git, what stands in README."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or (ROOT / "README.md").read_text("utf-8")


def dealt(seed: str) -> dict[str, str]:
    """{lesson: language}: the two for the browser, and short ones for the others."""
    deck, rest = random.Random(seed), len(LANGUAGES) - len(IN_A_BROWSER)
    lessons = [*IN_A_BROWSER, *deck.sample(short_lessons(), rest)]
    return dict(zip(lessons, deck.sample(LANGUAGES, len(LANGUAGES)), strict=True))


def build(folder: Path) -> None:
    """Builds every localized notebook: folder/LANGUAGE/notebooks/LESSON.ipynb."""
    command = [sys.executable, "translations/lessons.py", "build", *BUILT]
    subprocess.run([*command, "--output", folder], cwd=ROOT, check=True)


def differences(built: dict, english: dict) -> list[str]:
    """Where a built notebook, as JSON, differs in more than the text of its prose."""
    if built.keys() != english.keys() or len(built["cells"]) != len(english["cells"]):
        return ["its parts"]
    built = built | {"metadata": {**built["metadata"]}}
    built["metadata"].pop(KEY, None)  # it says its language
    cells = zip(built["cells"], english["cells"], strict=True)
    wrong = [other["id"] for one, other in cells if _shape(one) != _shape(other)]
    return wrong + [k for k in english if k != "cells" and built[k] != english[k]]


def _shape(cell: dict) -> dict:
    """A cell without the text that a translation changes."""
    if cell["cell_type"] == "markdown":
        return cell | {"source": None}
    return cell | {"source": "".join(cell["source"])}


def read(folder: Path, lesson: str) -> dict:
    """A notebook of a folder, as JSON."""
    return json.loads((folder / f"{lesson}.ipynb").read_text(encoding="utf-8"))


def scores(figures: dict) -> dict:
    """What a translated lesson must measure as the English one does.

    Exact matches; where it has none, whole numbers: how many, how long, which.
    """
    found = {k: v for k, v in figures.items() if k.endswith("exact_match")}
    whole = {k: v for k, v in figures.items() if type(v) is int and "second" not in k}
    return found or whole
