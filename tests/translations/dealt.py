"""Which lesson runs in which language at a commit: two of each, others at every commit.

Two lessons are opened in JupyterLab in a browser (tests/lessons/test_jupyterlab.py), as
the readers of that language open them; the others run headlessly.
"""

import random
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

from helpers.course import read_figures
from helpers.files import ROOT
from translations.checking import COMPLETE
from translations.edition import languages

LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
IN_A_BROWSER = ("00_start_here", "04_finetune_with_qlora")
LANGUAGES = [name for name in languages(ROOT) if name in COMPLETE]
EACH = 2


def commit() -> str:
    """The hash of the commit; where there is no git, what stands in README."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or (ROOT / "README.md").read_text("utf-8")


def dealt(seed: str) -> list[tuple[str, str]]:
    """[(language, lesson)]: the lessons shuffled, two dealt to each language."""
    deck = cycle(random.Random(seed).sample(LESSONS, len(LESSONS)))
    return [(name, lesson) for name in LANGUAGES for lesson in islice(deck, EACH)]


def build(folder: Path) -> None:
    """Builds every localized notebook: folder/LANGUAGE/notebooks/LESSON.ipynb."""
    command = [sys.executable, "translations/lessons.py", "build", *LANGUAGES]
    subprocess.run([*command, "--output", folder], cwd=ROOT, check=True)


def scores(figures: dict) -> dict:
    """What a translated lesson must measure as the English one does."""
    return {k: v for k, v in figures.items() if k.endswith("exact_match")}


def scores_of(notebook: Path) -> dict:
    """The `scores` of an executed notebook."""
    return scores(read_figures(notebook))
