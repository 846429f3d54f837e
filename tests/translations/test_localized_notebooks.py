"""Translated lessons run: two of each language, others at every commit."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

import pytest

from helpers.files import ROOT
from translations.checking import COMPLETE
from translations.edition import languages

LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
LANGUAGES = [name for name in languages(ROOT) if name in COMPLETE]
EACH = 2


def commit():
    """Return the hash of the commit; where there is no git, what stands in README."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or (ROOT / "README.md").read_text("utf-8")


def dealt(seed):
    """Return [(language, lesson)]: the lessons shuffled, two dealt to each language."""
    deck = cycle(random.Random(seed).sample(LESSONS, len(LESSONS)))
    return [(name, lesson) for name in LANGUAGES for lesson in islice(deck, EACH)]


@pytest.fixture(scope="session")
def localized_run(run_notebooks):
    """{"lesson.language": figures} of the localized notebooks that the commit deals.

    They run below the course's folder, where a reader builds them.
    """
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="localized-") as folder:
        return run_drawn(Path(folder), run_notebooks)


def run_drawn(folder, run_notebooks):
    """{"lesson.language": figures}: builds all in a folder, runs the drawn ones."""
    build = [sys.executable, "translations/lessons.py", "build", *LANGUAGES]
    subprocess.run([*build, "--output", folder], cwd=ROOT, check=True)
    (folder / "drawn").mkdir()
    for language, lesson in dealt(commit()):
        built = folder / language / "notebooks" / f"{lesson}.ipynb"
        shutil.copy(built, folder / "drawn" / f"{lesson}.{language}.ipynb")
    run_notebooks("--notebooks", folder / "drawn", "--output", folder / "run")
    rows = json.loads((folder / "run" / "course.json").read_text("utf-8"))
    return {row["lesson"]: row["figures"] for row in rows}


@pytest.mark.slow
def test_drawn_lessons_run_in_every_language(localized_run):
    drawn = {f"{lesson}.{language}" for language, lesson in dealt(commit())}
    assert set(localized_run) == drawn and len(drawn) == EACH * len(LANGUAGES)


@pytest.mark.slow
def test_a_translated_lesson_measures_what_the_english_one_does(
    localized_run, course_run
):
    for name, figures in localized_run.items():
        english = course_run.rows[name.partition(".")[0]]["figures"]
        scores = {k: v for k, v in english.items() if k.endswith("exact_match")}
        assert scores == {k: figures[k] for k in scores}, name


def test_the_draw_follows_the_commit_and_gives_each_language_its_share():
    assert dealt("a") == dealt("a")
    assert len({tuple(dealt(str(seed))) for seed in range(20)}) > 15
    for language in LANGUAGES:
        mine = [lesson for name, lesson in dealt("a") if name == language]
        assert len(set(mine)) == EACH
