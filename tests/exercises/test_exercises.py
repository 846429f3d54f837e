"""Every exercise of every lesson: its cells, its solution, its hints.

A lesson's wrong answers stand in `tests/wrong_answers_NN.py`:

    WRONG = {"NN.1": {"name of the mistake": "code of the wrong answer", ...}}
    NEEDS = {"NN.1": ["cell-id", ...]}    cells of the notebook to run first, in order
    GIVEN = {"NN.1": function}            returns {name: value}: stand-ins for what
                                          other cells bind after a long computation

The parameters cell always runs first, with PROFILE set to "tiny". NEEDS and GIVEN name
only the exercises that need them.
"""

import ast
import contextlib
import importlib
import io
import math
import re
import sys

import pytest

from helpers.exercises import checking as exercises
from helpers.files import ROOT
from tests.house import gates

SECTION, LEARNER_LINE = "## Exercises", r"(?m)^answer = \.\.\..*$"
LESSONS = {path.stem[:2]: path for path in gates.notebooks()}
NAMES = [f"{lesson}.{k}" for lesson in LESSONS for k in (1, 2, 3)]
SOLUTION = re.compile(
    r"^<details><summary>Solution</summary>\n\n```python\n(.*?)\n```\n\n"
    r"(\S.*?)\n</details>$",
    re.DOTALL | re.MULTILINE,
)
JUNK = {
    **{"None": None, "a word": "?", "a bool": True, "nan": math.nan, "huge": 10**400},
    **{"no list": [], "nested": [[1], {}], "empty": {}, "object": object()},
    **{"a class": dict, "a function": lambda *a, **k: 1 / 0, "an error": ValueError()},
}


def cell(name, answer=False):
    """The exercise cell, or the learner's, of "NN.K"."""
    wanted = f"exercise-{name[-1]}" + ("-answer" if answer else "")
    found = [c for _, c in gates.cells(LESSONS[name[:2]]) if c.id == wanted]
    assert found, f"{LESSONS[name[:2]].name} has no cell {wanted}"
    return found[0]


def solution(name):
    """The code in the collapsed block of an exercise."""
    found = SOLUTION.search(cell(name).source)
    assert found, f"exercise {name} has no solution block of the agreed form"
    return found[1]


def declared(table, name, default):
    """What `wrong_answers_NN` says of exercise "NN.K" in one of its tables."""
    module = importlib.import_module(f"tests.exercises.wrong_answers_{name[:2]}")
    return getattr(module, table, {}).get(name, default)


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """A working folder with the course's data, in which a lesson may write."""
    for name in ("data", "helpers"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def learner(sandbox):
    """Run the learner's cell of an exercise; return what it prints.

    The code takes the place of the line `answer = ...`, as a learner would type it.
    """

    def run(name, code=None, **names):
        cells = {c.id: c for _, c in gates.cells(LESSONS[name[:2]], "code")}
        space = {}
        exec(gates.tagged(LESSONS[name[:2]], "parameters")[0][1].source, space)
        space["PROFILE"] = "tiny"
        with contextlib.redirect_stdout(io.StringIO()):
            for needed in declared("NEEDS", name, ()):
                exec(gates.python(cells[needed].source), space)
        space |= declared("GIVEN", name, dict)() | names
        source, printed = cell(name, answer=True).source, io.StringIO()
        if code is not None:
            source = re.sub(LEARNER_LINE, lambda _: code, source)
        with contextlib.redirect_stdout(printed):
            exec(source, space)
        return printed.getvalue()

    return run


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_three_exercises_and_their_checks(lesson):
    path = LESSONS[lesson]
    ids = [c.id for _, c in gates.cells(path) if c.id.startswith("exercise-")]
    assert ids == [f"exercise-{k}{part}" for k in (1, 2, 3) for part in ("", "-answer")]
    texts = [c.source for _, c in gates.cells(path, "markdown")]
    assert [t for t in texts if t == SECTION or t.startswith(f"{SECTION}\n")]
    known = importlib.import_module(f"helpers.exercises.lesson_{lesson}").EXERCISES
    assert list(known) == [f"{lesson}.{k}" for k in (1, 2, 3)]


def test_every_module_of_checks_has_its_lesson():
    modules = {p.stem[-2:] for p in (ROOT / "helpers/exercises").glob("lesson_*.py")}
    tests = {p.stem[-2:] for p in (ROOT / "tests/exercises").glob("wrong_answers_*.py")}
    assert modules == tests == LESSONS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_cells_have_the_agreed_form(name):
    number, question, learner = name[-1], cell(name), cell(name, answer=True)
    assert question.cell_type == "markdown" and learner.cell_type == "code"
    assert re.match(rf"### Exercise {number}: \S", question.source)
    assert "exercise" in learner.metadata.get("tags", [])
    assert len(re.findall(LEARNER_LINE, learner.source)) == 1
    assert re.findall(r'exercises\.check\(\s*"([\d.]+)"', learner.source) == [name]
    assert 1 <= len(solution(name).splitlines()) <= 20
    first = "from helpers import exercises\n" in learner.source
    assert first == (number == "1")


def bound_above(name):
    """Every name that the notebook binds above an exercise."""
    found = set()
    for _, c in gates.cells(LESSONS[name[:2]]):
        if c.id == f"exercise-{name[-1]}-answer":
            break
        if c.cell_type == "code":
            nodes = list(ast.walk(ast.parse(gates.python(c.source))))
            stored = (n for n in nodes if isinstance(n, ast.Name))
            found |= {n.id for n in stored if isinstance(n.ctx, ast.Store)}
            named = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)]
            aliases = [n for n in nodes if isinstance(n, ast.alias)]
            found |= {n.name for n in named} | {a.asname or a.name for a in aliases}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_stand_in_has_the_name_of_something_in_the_notebook(name):
    assert declared("GIVEN", name, dict)().keys() <= bound_above(name)


def importing(name):
    """What the first learner's cell of the lesson imports for the later ones."""
    return {} if name[-1] == "1" else {"exercises": exercises}


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_gets_the_tick(learner, name):
    printed = learner(name, solution(name), **importing(name))
    assert printed == f"✓ Exercise {name}: {exercises.find(name).praise}\n"


@pytest.mark.parametrize("name", NAMES)
def test_an_untouched_cell_says_so(learner, name):
    printed = learner(name, **importing(name))
    assert printed == f"Exercise {name}: not answered yet.\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_mistake_gets_its_own_hint(learner, name):
    exercise, wrong = exercises.find(name), declared("WRONG", name, {})
    hints = {mistake.name: mistake.hint for mistake in exercise.mistakes}
    assert len(hints) >= 2 and hints.keys() == wrong.keys()
    assert len({*hints.values(), exercise.hint}) == len(hints) + 1
    for mistake, code in wrong.items():
        printed = learner(name, code, **importing(name))
        assert printed == f"Exercise {name}: {hints[mistake]}\n", mistake


@pytest.mark.parametrize("name", NAMES)
def test_any_answer_gets_one_line_and_no_tick(learner, name):
    for what, junk in JUNK.items():
        printed = learner(name, "answer = junk", junk=junk, **importing(name))
        assert printed.startswith(f"Exercise {name}: "), what
        assert printed.count("\n") == 1, what


@pytest.mark.parametrize("name", NAMES)
def test_no_hint_gives_the_number_away(learner, name):
    """For exercises whose answer is a number: it stands in no hint."""
    exercise, kept = exercises.find(name), []
    if not exercise.expected.startswith("a number"):
        return
    code = f"{solution(name)}\nkept.append(answer)"
    learner(name, code, kept=kept, **importing(name))
    answer = exercises.number(kept[0])
    for hint in (exercise.hint, *(m.hint for m in exercise.mistakes)):
        stated = [text.replace(",", "") for text in re.findall(r"\d[\d.,]*", hint)]
        values = [float(text.rstrip(".")) for text in stated]
        assert all(abs(value - answer) > 0.02 * abs(answer) for value in values), hint


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_headless_run_leaves_it_unanswered(course_run, name):
    executed = course_run.notebooks[LESSONS[name[:2]].stem]
    wanted = f"exercise-{name[-1]}-answer"
    outputs = [c.outputs for _, c in gates.cells(executed) if c.id == wanted]
    text = "".join(output.text for output in outputs[0])
    assert text == f"Exercise {name}: not answered yet.\n"
