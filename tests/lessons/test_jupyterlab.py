"""Two lessons as a learner meets them: in JupyterLab, in a real browser.

Each is translated into a language that the commit deals to it (tests/translations). The
memory calculator of a third, which takes a minute, is run in a cell of the second.

Screenshots go to the folder COURSE_SCREENSHOTS, if that is set, to look at.
"""

import os
import shutil
from pathlib import Path

import pytest

from helpers import memory
from helpers.course import read_figures
from helpers.exercises.checking import find
from helpers.language import messages
from tests.exercises import test_exercises
from tests.house import gates
from tests.lessons import jupyter_lab
from tests.site.browser import watch
from tests.translations.dealt import (
    IN_A_BROWSER,
    commit,
    dealt,
    scores,
    with_cell,
)

pytestmark = pytest.mark.slow
LESSONS = list(IN_A_BROWSER)
VALUES = {lesson[:2]: {"PROFILE": "tiny"} for lesson in LESSONS}
# The whole of 00 runs headlessly, and half of its training in the browser.
VALUES[LESSONS[0][:2]] |= {"TRAINING_STEPS": 80, "TEST_ROWS": 50}
RIGHT_TO_LEFT = "ar"
# JavaScript: of each paragraph, heading, item and block of code in a cell its tag, and
# how far its last line is from its left and from its right.
SIDES = """cell => [...cell.querySelectorAll('p, h1, h2, h3, li, pre')].map(e => {
  const text = document.createRange(), own = e.getBoundingClientRect();
  text.selectNodeContents(e);
  const parts = [...text.getClientRects()].filter(part => part.width > 1);
  const low = Math.max(...parts.map(part => part.bottom)) - 8;
  const line = parts.filter(part => part.bottom > low);
  return [e.tagName, Math.min(...line.map(part => part.left)) - own.left,
          own.right - Math.max(...line.map(part => part.right))];
})"""
SECONDS = 300  # a lesson may take 90 on a free machine, and two run side by side
CALCULATOR = {"config": "Llama-3.1-8B", "method": "qlora", "length": 1024}


@pytest.fixture(scope="module")
def lab(browser, localized, tmp_path_factory):
    """(folder of the course's copy, address, token) of a running JupyterLab."""
    course, drawn = tmp_path_factory.mktemp("course"), dealt(commit())
    pages = {name: localized / drawn[name] / "notebooks" for name in LESSONS}
    jupyter_lab.copy_course(course, VALUES, pages)
    with jupyter_lab.running(course, tmp_path_factory.mktemp("jupyter")) as server:
        yield course, *server


@pytest.fixture(scope="module")
def lessons(lab, browser):
    """{lesson: Notebook}, run from the first cell to the last, side by side."""
    course, *server = lab
    opened = {}
    with watch(browser) as open_page:
        for lesson in LESSONS:
            path = course / "notebooks" / f"{lesson}.ipynb"
            opened[lesson] = jupyter_lab.Notebook(open_page(), path, *server)
            opened[lesson].begin_to_run()
        for notebook in opened.values():
            notebook.wait_for_the_end(SECONDS)
        yield opened


@pytest.fixture
def calculator(lessons):
    """(Notebook, id of its cell) where the memory calculator of lesson 04 has run."""
    [lesson] = with_cell("calculator")
    cells = gates.cells(gates.ROOT / "notebooks" / f"{lesson}.ipynb", "code")
    [source] = [cell.source for _, cell in cells if cell.id == "calculator"]
    notebook, cell = lessons[LESSONS[1]], "exercise-2-answer"
    notebook.type_and_run(cell, f"from helpers import memory\n\n{source}")
    return notebook, cell


@pytest.fixture
def picture():
    """picture(page, name): keep what the page shows, where someone wants to look."""

    def keep(page, name):
        if folder := os.environ.get("COURSE_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"jupyterlab-{name}.png")

    return keep


def test_make_lab_opens_lesson_00_beside_the_others(lab, open_page, picture):
    _, address, token = lab
    watched = open_page()
    watched.page.goto(f"{address}?token={token}")
    listed = watched.page.locator(".jp-DirListing-itemText")
    listed.first.wait_for()
    assert watched.page.url == f"{address}lab/tree/notebooks/{LESSONS[0]}.ipynb"
    assert listed.all_inner_texts() == [path.name for path in gates.notebooks()]
    picture(watched.page, "first-view")
    assert watched.errors == [] and watched.foreign == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_run_all_cells_runs_to_the_end(lessons, lesson):
    code = gates.cells(lessons[lesson].path, "code")
    failed = {
        cell.id: f"{out.ename}: {out.evalue}"
        for _, cell in code
        for out in cell.outputs
        if out.output_type == "error"
    }
    assert failed == {}
    assert [cell.id for _, cell in code if not cell.execution_count] == []


def test_the_calculator_follows_its_slider(calculator, picture):
    notebook, cell = calculator
    sizes = [_total(batch) for batch in (4, 5)]
    assert sizes[0] != sizes[1]
    notebook.wait_for_text(cell, sizes[0])
    picture(notebook.page, "calculator")
    row = notebook.cell(cell).locator(".widget-slider", has_text="batch")
    row.get_by_role("slider").press("ArrowRight")
    notebook.wait_for_text(cell, sizes[1])
    picture(notebook.page, "calculator-moved")


def _total(batch):
    return memory.size(
        memory.predict(**CALCULATOR, batch=batch, checkpointing=True).total
    )


def test_the_explorer_draws_what_its_slider_says(lessons, picture):
    notebook = lessons[LESSONS[1]]
    cell = notebook.cell("explorer")
    drawn = cell.locator("img.widget-image")
    first = drawn.get_attribute("src")
    cell.get_by_role("slider").press("ArrowRight")
    cell.locator(".widget-readout", has_text="128").wait_for()
    notebook.page.wait_for_function(
        "([image, before]) => image.src !== before", arg=[drawn.element_handle(), first]
    )
    assert drawn.evaluate("image => image.clientWidth <= image.naturalWidth")
    picture(notebook.page, "explorer-moved")


@pytest.mark.parametrize("lesson", LESSONS)
def test_an_exercise_gives_a_hint_and_then_the_tick(lessons, picture, lesson):
    """In the notebook's language, which it says itself: its place does not."""
    texts = messages(dealt(commit())[lesson])
    notebook, name, cell = lessons[lesson], f"{lesson[:2]}.1", "exercise-1-answer"
    praise, right = find(name).praise, test_exercises.solution(name)
    hint, wrong = test_exercises.wrong_answers(name)[0]

    def line(said: str) -> str:
        form = texts.get("Exercise {name}: {said}", "Exercise {name}: {said}")
        return form.format(name=name, said=texts.get(said, said))

    notebook.wait_for_text(cell, line("not answered yet."))
    for view, code, said in (
        ("hint", wrong, line(hint)),
        ("tick", right, f"✓ {line(praise)}"),
    ):
        notebook.type_and_run(cell, test_exercises.filled_in(name, code))
        notebook.wait_for_text(cell, said)
        following = notebook.ids[notebook.index(cell) + 1]
        assert notebook.active() == following  # Shift+Enter went on
        picture(notebook.page, f"{name}-{view}")


def test_arabic_stands_at_the_right_and_its_code_at_the_left(
    lab, localized, open_page, picture
):
    course, *server = lab
    path = course / RIGHT_TO_LEFT / f"{LESSONS[0]}.ipynb"
    path.parent.mkdir()
    shutil.copy(localized / RIGHT_TO_LEFT / "notebooks" / path.name, path)
    notebook = jupyter_lab.Notebook(open_page(), path, *server)
    texts = {cell.id: cell.source for _, cell in gates.cells(path, "markdown")}
    framed = [name for name, text in texts.items() if 'dir="rtl"' in text]
    coded, seen = [name for name in framed if 'dir="ltr"' in texts[name]], []
    for name in framed[:8] + coded[:1]:
        shown = notebook.cell(name).locator(".jp-RenderedMarkdown")
        shown.wait_for()
        shown.locator("summary").evaluate_all("all => all.map(e => e.click())")
        picture(notebook.page, f"{RIGHT_TO_LEFT}-{name}")
        for tag, *gaps in shown.evaluate(SIDES):
            start, end = gaps if tag == "PRE" else reversed(gaps)
            assert start <= end + 2, (name, tag, gaps)
            seen.append(tag)
    assert {"P", "H1", "H2", "PRE"} <= set(seen) and seen.count("P") > 8


@pytest.mark.parametrize("lesson", LESSONS)
def test_nothing_went_wrong_in_the_browser(lessons, lesson):
    assert lessons[lesson].watched.errors == []
    assert lessons[lesson].watched.foreign == []


def test_it_measures_what_the_english_lesson_does(lessons, course_run):
    for lesson in LESSONS[1:]:
        english = scores(course_run.rows[lesson]["figures"])
        assert english and scores(read_figures(lessons[lesson].path)) == english


def test_half_the_training_gives_an_adapter_of_that_size_and_a_lower_score(
    lessons, course_run
):
    whole = course_run.rows[LESSONS[0]]["figures"]
    half = read_figures(lessons[LESSONS[0]].path)
    assert half["adapter_kib"] == whole["adapter_kib"]
    assert half["base_exact_match"] == whole["base_exact_match"]
    assert 0.6 < half["tuned_exact_match"] < whole["tuned_exact_match"]
