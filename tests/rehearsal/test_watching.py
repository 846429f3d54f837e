"""The watches of a rehearsal see what they are there for, and change nothing."""

import ast
from collections import defaultdict
from types import SimpleNamespace

import nbformat
import pytest
import torch

from helpers.models import free
from tests.rehearsal import branches
from tests.rehearsal.copies import Copies

CODE = """
def sign(x):
    assert x < 9, "small"
    if x < 0:
        return -1
    elif x == 0:
        return 0
    return 1 if x else None

def first(items):
    while True:
        try:
            return items[0]
        except IndexError:
            return "none"
"""


def run(code, *calls):
    """(results of the calls, {text of a branch: sides taken}, claims that failed)."""
    watch, sides, claims = branches.Watch("cell"), defaultdict(set), []

    def branch(key, value):
        sides[watch.places[key][0]].add(bool(value))
        return value

    space = {branches.BRANCH: branch, branches.CLAIM: lambda *c: claims.append(c)}
    tree = ast.fix_missing_locations(watch.visit(ast.parse(code)))
    exec(compile(tree, "cell", "exec"), space)
    return [eval(call, space) for call in calls], dict(sides), claims


def test_code_does_what_it_did():
    calls = ["sign(-2)", "sign(0)", "sign(3)", "first([5])", "first([])"]
    results, sides, claims = run(CODE, *calls)
    assert results == [-1, 0, 1, 5, "none"] and claims == []
    assert sides == {
        "x < 0": {False, True},
        "x == 0": {False, True},
        "x": {True},
        "except IndexError": {True},
    }


def test_a_claim_that_fails_is_noted_and_passed_over():
    results, _, claims = run(CODE, "sign(12)")
    assert results == [1] and claims == [("cell", "x < 9")]


def test_other_errors_are_not_passed_over():
    with pytest.raises(TypeError):
        run(CODE, "sign(None)")


@pytest.fixture
def notebook(tmp_path):
    """A lesson of three cells: the set-up, one with a branch, one without."""
    v4 = nbformat.v4
    cells = [v4.new_code_cell(text) for text in ("if 1 < 2: 3", CODE, "4")]
    cells[0].metadata["tags"] = ["setup"]
    for cell, name in zip(cells, ("setup", "signs", "rest"), strict=True):
        cell["id"] = name
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "00_signs.ipynb")
    return tmp_path / "00_signs.ipynb"


def test_a_side_that_no_run_took_is_named_with_its_cell(notebook):
    keys = {text: key for key, (text, _) in branches.branches(notebook).items()}
    assert keys.keys() == {"x < 0", "x == 0", "x", "except IndexError"}
    one = {keys["x < 0"]: [False], keys["x == 0"]: [True], keys["x"]: [True]}
    two = {keys["x < 0"]: [True], keys["x"]: [False]}
    assert branches.never_taken(notebook, [one, two]) == {
        "signs: x == 0": [False],
        "signs: except IndexError": [True],
    }
    three = {keys["x == 0"]: [False, True], keys["except IndexError"]: [True]}
    assert branches.never_taken(notebook, [one, two, three]) == {}


def linear():
    """A small model, as `from_pretrained` would give one."""
    return torch.nn.Linear(8, 8)


def beside(copies):
    """What is held when one more model comes."""
    copies.coming("base", "whole")
    return copies.loads[-1]["beside"]


@pytest.fixture
def copies():
    return Copies(lesson="00_start", cell="load")


def test_a_held_copy_is_counted_until_it_is_gone(copies):
    model = linear()
    copies.came("base", "4-bit", model)
    copies.cell = "next"
    assert beside(copies) == ["load (4-bit)"]
    assert copies.loads[-1] == {
        "cell": "next",
        "source": "base",
        "form": "whole",
        "beside": ["load (4-bit)"],
    }
    del model
    assert beside(copies) == []


def test_a_model_that_is_freed_counts_no_more_whoever_holds_it(copies):
    model = linear()
    holder = SimpleNamespace(model=model, optimizer=None)
    copies.came("base", "whole", model)
    free(holder)
    assert holder.model is model and beside(copies) == []


def test_tensors_that_outlive_their_model_are_counted(copies):
    model = linear()
    weights = dict(model.named_parameters())
    copies.came("base", "whole", model)
    del model
    assert beside(copies) == ["load (whole)"]
    weights.clear()
    assert beside(copies) == []
