"""Translated lessons have the English code, and run: one of each language."""

import copy
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nbformat
import pytest

from helpers.exercises import lesson_03
from helpers.files import ROOT
from helpers.language import messages
from tests.exercises.test_exercises import filled_in
from tests.translations.dealt import (
    BUILT,
    IN_A_BROWSER,
    LANGUAGES,
    LESSONS,
    commit,
    dealt,
    differences,
    read,
    scores,
    short_lessons,
)


@pytest.mark.parametrize("language", BUILT)
def test_every_built_notebook_has_the_english_cells(localized, language):
    folder = localized / language / "notebooks"
    names = sorted(path.stem for path in folder.glob("*.ipynb"))
    assert names == LESSONS if language in LANGUAGES else set(names) <= set(LESSONS)
    english = {name: read(ROOT / "notebooks", name) for name in names}
    built = {name: read(folder, name) for name in names}
    found = {name: differences(built[name], english[name]) for name in names}
    assert {name: what for name, what in found.items() if what} == {}
    for name in names:
        nbformat.validate(built[name])
        assert built[name] != english[name] or language not in LANGUAGES


def _code(book):
    return next(c for c in book["cells"] if c["cell_type"] == "code")


SPOILT = {
    "another character": lambda book: _code(book)["source"].append(" "),
    "a lost tag": lambda book: _code(book)["metadata"].clear(),
    "another id": lambda book: _code(book).update(id="other"),
    "an output": lambda book: _code(book)["outputs"].append({}),
    "code that became prose": lambda book: _code(book).update(cell_type="markdown"),
    "prose that became code": lambda book: book["cells"][0].update(cell_type="code"),
    "a lost cell": lambda book: book["cells"].pop(),
    "two cells exchanged": lambda book: book["cells"].reverse(),
    "another kernel": lambda book: book["metadata"]["kernelspec"].update(name="r"),
    "another format": lambda book: book.update(nbformat_minor=4),
    "something more": lambda book: book.update(more={}),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_not_the_english_code_is_seen(spoil):
    english = read(ROOT / "notebooks", LESSONS[0])
    translated = copy.deepcopy(english)
    translated["cells"][0]["source"] = ["# Otro"]
    assert differences(translated, english) == []
    spoil(translated)
    assert differences(translated, english) != []


@pytest.fixture(scope="module")
def localized_run(localized, course_run, run_notebooks):
    """{"lesson.language": figures} of the localized notebooks that the commit deals.

    They run below the course's folder, where a reader builds them, and after the
    English ones: a lesson in two languages writes to one folder in build/runs.
    """
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="localized-") as folder:
        return run_drawn(localized, Path(folder), run_notebooks)


def headless() -> dict[str, str]:
    """{lesson: language} of this commit, without those that a browser runs."""
    return {n: lang for n, lang in dealt(commit()).items() if n not in IN_A_BROWSER}


def run_drawn(localized, folder, run_notebooks):
    """{"lesson.language": figures}: runs the drawn ones in a folder."""
    (folder / "drawn").mkdir()
    for lesson, language in headless().items():
        built = localized / language / "notebooks" / f"{lesson}.ipynb"
        shutil.copy(built, folder / "drawn" / f"{lesson}.{language}.ipynb")
    run_notebooks("--notebooks", folder / "drawn", "--output", folder / "run")
    rows = json.loads((folder / "run" / "course.json").read_text("utf-8"))
    return {row["lesson"]: row["figures"] for row in rows}


@pytest.mark.slow
def test_drawn_lessons_run_in_every_language(localized_run):
    drawn = dealt(commit())
    assert sorted(drawn.values()) == sorted(LANGUAGES)
    assert set(localized_run) == {
        f"{lesson}.{name}" for lesson, name in headless().items()
    }
    assert len(localized_run) == len(LANGUAGES) - len(IN_A_BROWSER)


@pytest.mark.slow
def test_a_translated_lesson_measures_what_the_english_one_does(
    localized_run, course_run
):
    for name, figures in localized_run.items():
        english = course_run.rows[name.partition(".")[0]]["figures"]
        assert scores(english) and scores(figures) == scores(english), name


@pytest.mark.slow
def test_a_wrong_answer_in_the_spanish_notebook_gets_its_spanish_hint(
    localized, run_notebooks
):
    hint, answer = next(iter(lesson_03.EXERCISES["03.1"].mistakes.items()))
    name = "03_finetune_with_lora.ipynb"
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="localized-") as folder:
        place = Path(folder, "es", "notebooks")
        place.mkdir(parents=True)
        book = nbformat.read(localized / "es" / "notebooks" / name, as_version=4)
        cells = {cell.id: cell for cell in book.cells}
        cells["exercise-1-answer"].source = filled_in(
            "03.1", f"answer = {answer.value}"
        )
        kept = ("setup", "parameters", "exercise-1-answer")
        book.cells = [cells[cell] for cell in kept]
        nbformat.write(book, place / name)
        run_notebooks("--notebooks", place, "--output", Path(folder, "run"))
        ran = nbformat.read(Path(folder, "run", "notebooks", name), as_version=4)
    said = messages("es")
    assert said[hint] != hint
    assert ran.cells[-1].outputs[0].text == f"Ejercicio 03.1: {said[hint]}\n"


def test_the_draw_follows_the_commit_and_gives_each_language_its_share():
    assert dealt("a") == dealt("a")
    draws = [dealt(str(seed)) for seed in range(200)]
    assert len({tuple(draw.items()) for draw in draws[:20]}) > 10
    for draw in draws:
        assert sorted(draw.values()) == sorted(LANGUAGES)
        assert tuple(draw)[: len(IN_A_BROWSER)] == IN_A_BROWSER
    # In time each language runs each of them.
    pairs = {pair for draw in draws for pair in draw.items()}
    mine = [*IN_A_BROWSER, *short_lessons()]
    assert pairs == {(lesson, name) for lesson in mine for name in LANGUAGES}


def lab(*arguments) -> str:
    """What `make lab` would run, where the system sets LANGUAGE, as many do."""
    environment = os.environ | {"LANGUAGE": "en_GB:en"}
    command = ["make", "--dry-run", "lab", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_make_lab_opens_the_notebooks_of_a_language_that_is_typed():
    for mine in (lab(), lab("LANGUAGE=en"), lab("LANGUAGE=")):
        assert "build" not in mine and "set -- notebooks/*.ipynb" in mine
    said = lab("LANGUAGE=ro")
    assert "lessons.py build ro" in said
    assert "set -- build/translations/ro/notebooks/*.ipynb" in said
