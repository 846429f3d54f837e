"""Translated lessons run: two of each language, others at every commit."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from helpers.files import ROOT
from tests.translations.dealt import (
    EACH,
    IN_A_BROWSER,
    LANGUAGES,
    LESSONS,
    build,
    commit,
    dealt,
    scores,
)


@pytest.fixture(scope="module")
def localized_run(course_run, run_notebooks):
    """{"lesson.language": figures} of the localized notebooks that the commit deals.

    They run below the course's folder, where a reader builds them, and after the
    English ones: a lesson in two languages writes to one folder in build/runs.
    """
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="localized-") as folder:
        return run_drawn(Path(folder), run_notebooks)


def headless() -> list[tuple[str, str]]:
    """[(language, lesson)] of this commit, without those that a browser runs."""
    return [pair for pair in dealt(commit()) if pair[1] not in IN_A_BROWSER]


def run_drawn(folder, run_notebooks):
    """{"lesson.language": figures}: builds all in a folder, runs the drawn ones."""
    build(folder)
    (folder / "drawn").mkdir()
    for language, lesson in headless():
        built = folder / language / "notebooks" / f"{lesson}.ipynb"
        shutil.copy(built, folder / "drawn" / f"{lesson}.{language}.ipynb")
    run_notebooks("--notebooks", folder / "drawn", "--output", folder / "run")
    rows = json.loads((folder / "run" / "course.json").read_text("utf-8"))
    return {row["lesson"]: row["figures"] for row in rows}


@pytest.mark.slow
def test_drawn_lessons_run_in_every_language(localized_run):
    assert set(localized_run) == {f"{lesson}.{name}" for name, lesson in headless()}
    assert len(localized_run) == EACH * len(LANGUAGES) - len(IN_A_BROWSER)


@pytest.mark.slow
def test_a_translated_lesson_measures_what_the_english_one_does(
    localized_run, course_run
):
    for name, figures in localized_run.items():
        english = course_run.rows[name.partition(".")[0]]["figures"]
        assert scores(figures) == scores(english), name


def test_the_draw_follows_the_commit_and_gives_each_language_its_share():
    assert dealt("a") == dealt("a")
    assert len({tuple(dealt(str(seed))) for seed in range(20)}) > 15
    for language in LANGUAGES:
        mine = [lesson for name, lesson in dealt("a") if name == language]
        assert len(set(mine)) == EACH
    # Every lesson is drawn once, those that a browser runs among them.
    assert sorted(lesson for _, lesson in dealt("a")) == LESSONS
