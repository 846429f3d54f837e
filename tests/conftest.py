"""What several test modules share, and how the suite uses every core.

`make test` runs several processes (pytest-xdist, --dist loadfile). A module stays in
one of them, so that what its fixtures make is made once; the dearest come first.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from helpers.files import ROOT
from tests.translations import dealt

pytest_plugins = ["tests.site.browser"]

# Set before any test imports torch: the suite is offline, and one thread is fastest.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
}.items():
    os.environ.setdefault(name, value)

# The modules that take longest, in this order: begun last, they would end alone. The
# first one executes every notebook (`course_run`), which takes about as long as those
# up to the first that waits for it.
LONGEST = (
    "lessons/test_notebooks.py",
    "finetune/test_finetune.py",
    "finetune/test_finetune_resume.py",
    "finetune/test_resume.py",
    "house/test_rooms.py",  # while the process that these fork is there
    "finetune/test_adapter_folder.py",
    "lessons/test_colab.py",
    "lessons/test_jupyterlab.py",
    "site/test_site_in_browser.py",
    "translations/test_localized_notebooks.py",
    "benchmarks/test_gpu.py",
    "data/test_adapters.py",
    "course/test_course.py",
    "memory/test_memory_table.py",
    "rehearsal/test_rehearsal.py",
)
# Marks of tests that are no part of `make test`.
TIERS = ("rehearsal", "vllm", "llamacpp")


def pytest_collection_modifyitems(config, items):
    """Puts the longest modules first, and last those that wait for `course_run`.

    What TIERS names is left out where nobody asks for it.
    """
    for tier in TIERS:
        if tier not in config.option.markexpr:
            items[:] = [i for i in items if not i.get_closest_marker(tier)]
    ranks = {name: rank - len(LONGEST) for rank, name in enumerate(LONGEST)}
    for item in items:
        if "course_run" in item.fixturenames:
            ranks.setdefault(_module(item), 1)
    items.sort(key=lambda item: ranks.get(_module(item), 0))


def _module(item) -> str:
    """The file of a test, relative to tests/."""
    return item.path.relative_to(ROOT / "tests").as_posix()


ALONE = "PYTEST_XDIST_WORKER" not in os.environ  # one process runs all tests


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """made_once(name, make) -> folder: make(folder), in one of the test processes.

    The others wait, and find the folder. What raises in make raises in each of them.
    """
    base = tmp_path_factory.getbasetemp()
    base = base if ALONE else base.parent  # shared by all processes

    def once(name, make):
        folder, failed = base / name, base / f"{name}.failed"
        with FileLock(base / f"{name}.lock"):
            if failed.exists():
                pytest.fail(failed.read_text(encoding="utf-8"))
            if not folder.exists():
                folder.mkdir()
                try:
                    make(folder)
                except BaseException as error:
                    failed.write_text(str(error), encoding="utf-8")
                    raise
        return folder

    return once


@dataclass(frozen=True)
class CourseRun:
    """One run of every notebook.

    rows: {lesson: row of course.json}; notebooks: {lesson: executed notebook};
    printed: what the command wrote to standard output, its closing table.
    """

    rows: dict[str, dict]
    notebooks: dict[str, Path]
    printed: str


@pytest.fixture(scope="session")
def run_notebooks():
    """run_notebooks(*arguments): the command, on the cores that are left to it.

    Returns what it printed; fails the test where a lesson fails.
    """

    def run(*arguments) -> str:
        command = [sys.executable, "-m", "helpers.course", "--end-with-parent"]
        jobs = [] if ALONE else ["--jobs", "1"]
        done = subprocess.run(
            [*command, *jobs, *arguments], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode != 0:
            pytest.fail(f"the course did not run:\n{done.stderr}\n{done.stdout}")
        return done.stdout

    return run


@pytest.fixture(scope="session")
def course_run(made_once, run_notebooks):
    """Execute every notebook once on the tiny profile; fail where a lesson fails."""

    def make(folder):
        printed = run_notebooks("--profile", "tiny", "--output", folder)
        (folder / "printed.txt").write_text(printed, encoding="utf-8")

    output = made_once("course", make)
    rows = json.loads((output / "course.json").read_text(encoding="utf-8"))
    executed = {path.stem: path for path in (output / "notebooks").glob("*.ipynb")}
    printed = (output / "printed.txt").read_text(encoding="utf-8")
    return CourseRun({row["lesson"]: row for row in rows}, executed, printed)


@pytest.fixture(scope="session")
def localized(made_once):
    """The folder of all translated notebooks: LANGUAGE/notebooks/LESSON.ipynb."""
    return made_once("localized", dealt.build)


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
