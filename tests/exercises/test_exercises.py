"""Every exercise of every lesson: its cells, its solution, its hints.

A mistake that is a number brings its wrong answers along. Those to the other mistakes
stand in `wrong_answers_NN.py`, in the order of the hints:

    WRONG = {"NN.1": {"name of the mistake": "code of the wrong answer", ...}}
    OTHERS = the same             of mistakes that have no hint of their own
    RIGHT = the same              of other right answers than the solution
    GIVEN = {"NN.1": function}            returns {name: value}: stand-ins for what
                                          other cells bind after a long computation
"""

import ast
import contextlib
import functools
import importlib
import io
import math
import re

import pytest

from helpers import exercises
from helpers.exercises import checking
from helpers.exercises.checking import Number
from helpers.files import ROOT
from tests.house import gates

SECTION, LEARNER_LINE = "## Exercises", r"(?m)^answer = \.\.\..*$"
LESSONS = {path.stem[:2]: path for path in gates.notebooks()}
FIRST_APPENDIX = "13"


def numbers_of(lesson):
    """Of a lesson 1 to 3, of an appendix those that it has checks for."""
    if lesson < FIRST_APPENDIX:
        return [1, 2, 3]
    known = importlib.import_module(f"helpers.exercises.lesson_{lesson}").EXERCISES
    return list(range(1, len(known) + 1))


NAMES = [f"{lesson}.{k}" for lesson in LESSONS for k in numbers_of(lesson)]
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


# Parsing a notebook is what these tests would spend their time on.
cells = functools.cache(gates.cells)


def cell(name, answer=False, path=None):
    """The exercise cell, or the learner's, of "NN.K"; in the lesson or in a copy."""
    path = path or LESSONS[name[:2]]
    wanted = f"exercise-{name[-1]}" + ("-answer" if answer else "")
    found = [c for _, c in cells(path) if c.id == wanted]
    assert found, f"{path.name} has no cell {wanted}"
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


# Those whose answer is a number.
NUMBERS = [n for n in NAMES if checking.find(n).expected.startswith("a number")]


def filled_in(name, code):
    """The learner's cell of an exercise, with code in place of the dots."""
    return re.sub(LEARNER_LINE, lambda _: code, cell(name, answer=True).source)


def run(name, code=None, **names):
    """What the learner's cell prints, as it is or with code in place of the dots.

    The first of a lesson imports `exercises` for the later ones.
    """
    space = {} if name[-1] == "1" else {"exercises": exercises}
    space |= declared("GIVEN", name, dict)() | names
    source = cell(name, answer=True).source if code is None else filled_in(name, code)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(source, space)
    return printed.getvalue()


def numbers(name, predicate):
    """[(a number that a predicate wants, its tolerance)]."""
    tree = ast.parse(cell(name, answer=True).source)
    passed = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    given = declared("GIVEN", name, dict)()
    found = predicate.numbers(**{key: given[key] for key in passed})
    return [(float(value), float(predicate.tolerance(value))) for value in found]


def wrong_answers(name):
    """[(hint, code)]: what earns each hint; numbers also at both ends of their reach.

    Nine tenths of it, for 04.1's right answer begins where that of a mistake ends.
    """
    mistakes, found = checking.find(name).mistakes, []
    told = [h for h, wrong in mistakes.items() if not isinstance(wrong, Number)]
    codes = dict(zip(told, declared("WRONG", name, {}).values(), strict=True))
    for hint, wrong in mistakes.items():
        if hint in codes:
            found.append((hint, codes[hint]))
            continue
        for value, reach in numbers(name, wrong):
            ends = (value, value - 0.9 * reach, value + 0.9 * reach)
            found += [(hint, f"answer = {end!r}") for end in ends]
    return found


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_its_exercises_and_their_checks(lesson):
    path, numbers = LESSONS[lesson], numbers_of(lesson)
    ids = [c.id for _, c in cells(path) if c.id.startswith("exercise-")]
    assert ids == [f"exercise-{k}{part}" for k in numbers for part in ("", "-answer")]
    texts = [c.source for _, c in cells(path, "markdown")]
    assert [t for t in texts if SECTION in t.splitlines()]
    known = importlib.import_module(f"helpers.exercises.lesson_{lesson}").EXERCISES
    assert list(known) == [f"{lesson}.{k}" for k in numbers] != []


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
    for _, c in cells(LESSONS[name[:2]]):
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


def right_answer(name):
    """(the solution's answer, what the learner's cell prints for it)."""
    kept = []
    printed = run(name, f"{solution(name)}\nkept.append(answer)", kept=kept)
    return kept[0], printed


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_gets_the_tick(name):
    _, printed = right_answer(name)
    assert printed == f"✓ Exercise {name}: {checking.find(name).praise}\n"


@pytest.mark.parametrize("name", [n for n in NAMES if declared("RIGHT", n, {})])
def test_other_right_answers_get_the_tick(name):
    for what, code in declared("RIGHT", name, {}).items():
        assert run(name, code).startswith("✓"), what


def test_a_function_that_changes_what_it_is_given_spoils_no_later_answer():
    run("07.2", "def answer(metrics, found):\n    metrics.clear()")
    assert run("07.2", solution("07.2")).startswith("✓")


@pytest.mark.parametrize("name", NUMBERS)
def test_the_solution_is_the_very_number_of_the_check(name):
    """And a hundred times a share, the number of the mistake in percent."""
    exercise = checking.find(name)
    answer, _ = right_answer(name)
    assert [v for v, _ in numbers(name, exercise.right)] == [pytest.approx(answer)]
    if exercise.expected.startswith("a number, the share"):
        said = run(name, f"{solution(name)}\nanswer = 100 * answer")
        assert re.search("in another unit|in percent", said)


@pytest.mark.parametrize("name", NUMBERS)
def test_no_hint_gives_the_number_away(name):
    """For exercises whose answer is a number: it stands in no hint."""
    exercise = checking.find(name)
    answer, _ = right_answer(name)
    for hint in (exercise.hint, *exercise.mistakes):
        stated = [text.replace(",", "") for text in re.findall(r"\d[\d.,]*", hint)]
        values = [float(text.rstrip(".")) for text in stated]
        assert all(abs(value - answer) > 0.02 * abs(answer) for value in values), hint


@pytest.mark.parametrize("name", NAMES)
def test_an_untouched_cell_says_so(name):
    assert run(name) == f"Exercise {name}: not answered yet.\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_mistake_gets_its_own_hint(name):
    exercise = checking.find(name)
    assert len(exercise.mistakes) >= 2 and exercise.hint not in exercise.mistakes
    for hint, code in wrong_answers(name):
        assert run(name, code) == f"Exercise {name}: {hint}\n", code


@pytest.mark.parametrize("name", [n for n in NAMES if declared("OTHERS", n, {})])
def test_other_mistakes_get_the_hint_of_all(name):
    for what, code in declared("OTHERS", name, {}).items():
        said = run(name, code)
        assert said == f"Exercise {name}: {checking.find(name).hint}\n", what


def test_what_counts_as_false_is_a_verdict():
    code = "def answer(metrics, found):\n"
    code += "    known = metrics.get('base', {}).get('fingerprint')\n"
    code += "    return known and known == found"
    assert run("07.2", code).startswith("✓")


@pytest.mark.parametrize("name", NAMES)
def test_any_answer_gets_one_line_and_no_tick(name):
    for what, junk in JUNK.items():
        printed = run(name, "answer = junk", junk=junk)
        assert printed.startswith(f"Exercise {name}: "), what
        assert printed.count("\n") == 1, what


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_headless_run_leaves_it_unanswered(course_run, name):
    executed = course_run.notebooks[LESSONS[name[:2]].stem]
    outputs = cell(name, answer=True, path=executed).outputs
    text = "".join(output.text for output in outputs)
    assert text == f"Exercise {name}: not answered yet.\n"
