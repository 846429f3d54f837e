"""The issue DRIFT names what failed and which packages moved."""

import importlib.util
import json
import subprocess
import sys

import nbformat
import pytest

from helpers.files import ROOT

DRIFT = ROOT / ".github" / "drift.py"
SPEC = importlib.util.spec_from_file_location("drift", DRIFT)
drift = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(drift)

PINS = """\
# The subject
torch==2.13.0        # a reason
hub-of-faces==1.0.0  # another
pytest==0.0.1        # a third
"""


@pytest.fixture
def run(tmp_path):
    """A run that finished lesson 00, failed in 01 and lost 02."""
    row = {"lesson": "00_start", "seconds": 1}
    (tmp_path / "course.json").write_text(json.dumps([row]), encoding="utf-8")
    cells = [nbformat.v4.new_code_cell("1", id="fine")]
    cells.append(nbformat.v4.new_code_cell("no()", id="train"))
    trouble = "got an \x1b[31munexpected\x1b[0m keyword\n```\n@someone [a](b)"
    cells[1].outputs = [
        nbformat.v4.new_output("error", ename="TypeError", evalue=trouble)
    ]
    (tmp_path / "failed").mkdir()
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, tmp_path / "failed" / "01_raises.ipynb")
    return tmp_path


def test_failures_are_the_lessons_without_a_row(run):
    failed = drift.failures(run, ["00_start", "01_raises", "02_lost"])
    assert failed.keys() == {"01_raises", "02_lost"}
    cell, error = failed["01_raises"]
    assert cell == "train" and error.startswith("TypeError: got an unexpected keyword")
    assert failed["02_lost"] == ("", "did not run")


def test_a_run_that_never_began_failed_in_every_lesson(tmp_path):
    assert drift.failures(tmp_path, ["00", "01"]).keys() == {"00", "01"}


def test_packages_that_moved_are_named_with_both_versions(monkeypatch):
    here = {"torch": "2.13.0+cpu", "pytest": "9.2.0"}
    monkeypatch.setattr(drift, "_version", lambda name: here.get(name, "not installed"))
    assert drift.moved(PINS) == [
        ("hub-of-faces", "1.0.0", "not installed"),
        ("pytest", "0.0.1", "9.2.0"),
    ]


def test_an_error_stays_code_in_the_issue(run):
    failed = drift.failures(run, ["01_raises"])
    lines = drift.report(failed, [("pytest", "0.0.1", "9.2.0")]).splitlines()
    assert "- 01_raises, cell `train`" in lines
    assert "| pytest | 0.0.1 | 9.2.0 |" in lines
    for text in ("TypeError: got an unexpected keyword", "```", "@someone [a](b)"):
        assert f"      {text}" in lines


def test_no_failure_is_said_too():
    assert drift.report({}, []).startswith(
        "Every lesson runs with the newest packages."
    )


def test_unpinned_are_all_packages_without_versions():
    assert drift.unpinned(PINS).split() == ["torch", "hub-of-faces", "pytest"]
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert len(drift.unpinned(text).split()) == text.count("==")


def test_it_speaks_where_no_package_is_installed(tmp_path):
    """As in the workflow, after an installation that failed."""
    command = [sys.executable, "-IS", str(DRIFT), "--run", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "- 00_start_here" in done.stdout
    assert "| torch | " in done.stdout and "| not installed |" in done.stdout
