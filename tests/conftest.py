"""What several test modules share."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.files import ROOT

pytest_plugins = ["tests.site.browser"]

# Set before any test imports torch: the suite is offline, and one thread is fastest.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
}.items():
    os.environ.setdefault(name, value)


@dataclass(frozen=True)
class CourseRun:
    """One run of every notebook.

    rows: {lesson: row of course.json}; notebooks: {lesson: executed notebook};
    printed: what the command wrote to standard output, its closing table.
    """

    rows: dict[str, dict]
    notebooks: dict[str, Path]
    printed: str


@pytest.fixture
def copy(tmp_path):
    """The pages that quote the ledger or the public address, in a folder of their own.

    That address is in it too, in pyproject.toml.
    """
    for name in ("README.md", "CITATION.cff", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


@pytest.fixture
def displayed(monkeypatch):
    """What is shown: (object, keyword arguments) a call of display."""
    calls = []
    show = lambda shown, **options: calls.append((shown, options))  # noqa: E731
    monkeypatch.setattr("IPython.display.display", show)
    return calls


@pytest.fixture(scope="session")
def course_run(tmp_path_factory):
    """Execute every notebook once on the tiny profile; fail where a lesson fails."""
    output = tmp_path_factory.mktemp("course")
    command = [sys.executable, "-m", "helpers.course", "--profile", "tiny"]
    command += ["--output", str(output), "--end-with-parent"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"the course did not run:\n{done.stderr}\n{done.stdout}")
    rows = json.loads((output / "course.json").read_text(encoding="utf-8"))
    executed = {path.stem: path for path in (output / "notebooks").glob("*.ipynb")}
    return CourseRun({row["lesson"]: row for row in rows}, executed, done.stdout)
