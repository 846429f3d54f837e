"""What several test modules share, and how the suite uses every core.

`make test` runs several processes (pytest-xdist, --dist loadfile). A module stays in
one of them, so that what its fixtures make is made once; the dearest come first. What
several modules need, the executed notebooks, these processes make together.
"""

import contextlib
import gc
import io
import json
import os
import random
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock, Timeout

from helpers import run_command
from helpers.environment import KEEP_MEMORY
from helpers.files import ROOT, write_json
from tests import warm
from tests.translations import dealt

pytest_plugins = ["tests.site.browser"]

# Set before any test imports torch: the suite is offline, and one thread is fastest.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
    # Of the processes that it starts: what runs already, this one, goes on as it was.
    **KEEP_MEMORY,
}.items():
    os.environ.setdefault(name, value)
# bitsandbytes has functions compiled, none of which runs on a CPU; each process that
# imports it would load the whole compiler for them, a second of its seven.
if not shutil.which("nvidia-smi"):
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

# The modules that take longest, in this order: begun last, they would end alone. The
# first one begins to execute the notebooks (`course_run`); who needs them later helps.
LONGEST = (
    "lessons/test_notebooks.py",
    "finetune/test_launch.py",
    "finetune/test_finetune.py",
    "finetune/test_finetune_resume.py",
    "lessons/test_colab.py",
    "lessons/test_jupyterlab.py",
    "site/test_site_in_browser.py",
    "translations/test_localized_notebooks.py",
    "benchmarks/test_gpu.py",
    "models/test_families.py",
    "data/test_adapters.py",
    "course/test_course.py",
    "finetune/test_adapter_folder.py",
    "lessons/test_without_helpers.py",
    "preflight/test_strangers.py",
    "translations/test_mutations.py",
    "merge/test_merge.py",
    "finetune/test_learning.py",
    "course/test_cards.py",
    "sweep/test_sweep.py",
    "memory/test_memory_table.py",
    "rehearsal/test_rehearsal.py",
    "translations/test_translations.py",
    "memory/test_memory.py",
    "serving/test_transformers_serve.py",
    "formatting/test_formats.py",
)
# Marks of tests that are no part of `make test`.
TIERS = ("rehearsal", "vllm", "llamacpp")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A process more than cores: some wait, for a browser, a server or the network."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs):
    """Starts the test processes warm, but for the first: it imports at the same time.

    And it compiles the tests, which the others then find compiled.
    """
    if warm.ADDRESS in os.environ:
        for spec in specs[1:]:
            spec.python = shlex.join([*warm.COMMAND, "tests.warm_worker"])


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config):
    """Starts the process of warm programs, for this process and those it starts."""
    with contextlib.nullcontext() if hasattr(config, "workerinput") else warm.serve():
        return (yield)


def pytest_configure(config):
    """Adds to the filters of pyproject.toml what would import nbformat there, early."""
    for name in ("MissingIDFieldWarning", "DuplicateCellId"):
        line = f"error::nbformat.warnings.{name}"
        config.addinivalue_line("filterwarnings", line)


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


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Spares the garbage collector what stays to the end: half a million objects.

    To go through them takes it a quarter of the time of all imports, and 0.3 s for
    each trainer or model that a test frees.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _module(item) -> str:
    """The file of a test, relative to tests/."""
    return item.path.relative_to(ROOT / "tests").as_posix()


ALONE = "PYTEST_XDIST_WORKER" not in os.environ  # one process runs all tests


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """made_once(name, make) -> folder: make(folder), in one of the test processes.

    The others wait, and find the folder. What raises in make raises in each of them.
    With wait=False who comes while another makes it gets filelock.Timeout instead.
    """
    base = tmp_path_factory.getbasetemp()
    base = base if ALONE else base.parent  # shared by all processes

    def once(name, make, wait=True):
        folder, failed = base / name, base / f"{name}.failed"
        with FileLock(base / f"{name}.lock", blocking=wait):
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
    printed: what the commands wrote to standard output, their closing tables.
    """

    rows: dict[str, dict]
    notebooks: dict[str, Path]
    printed: str


@pytest.fixture(scope="session")
def run_notebooks():
    """run_notebooks(*arguments): `python -m helpers.course`, in this process.

    Its lessons start warm, but for the one of cold=. Returns what it printed; fails the
    test where a lesson fails.
    """
    from helpers.course import __main__ as command
    from helpers.course import runner

    def run(*arguments, cold=False) -> str:
        jobs = [] if ALONE else ["--jobs", "1"]
        call = ["--end-with-parent", *jobs, *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            # Signals are pytest's.
            patch.setattr(runner, "on_signals", lambda handler: None)
            if warm.ADDRESS in os.environ and not cold:
                patch.setattr(runner, "subprocess", warm_subprocess)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run_command("course", command.main, call)
        if code != 0:
            pytest.fail(f"the course did not run:\n{err.getvalue()}\n{out.getvalue()}")
        return out.getvalue()

    return run


def warm_worker(command, *, env, cwd, stdin, stdout, stderr, **_) -> warm.Process:
    """What the course's runner starts in the place of a subprocess.Popen."""
    assert command[1:3] == ["-m", "helpers.course.worker"]
    assert (stdin, stdout) == (subprocess.DEVNULL, subprocess.PIPE)
    reading, writing = os.pipe()
    with open(os.devnull) as nothing, open(writing, "w") as reports:
        files = [nothing.fileno(), reports.fileno(), stderr.fileno()]
        call = ["tests.warm_lesson", *command[3:]]
        process = warm.Process(call, files, env, cwd)
    process.stdout = open(reading, encoding="utf-8")
    return process


warm_subprocess = SimpleNamespace(
    Popen=warm_worker, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL
)


@pytest.fixture(scope="session")
def course_run(made_once, run_notebooks):
    """Execute every notebook once on the tiny profile; fail where a lesson fails.

    Each test process that needs them takes the longest that none has begun, and waits
    when all have been. One lesson, another at every commit, starts as a reader's does,
    cold.
    """
    cold = random.Random(dealt.commit()).choice(dealt.LESSONS)

    def execute(lesson, **how):
        def make(folder):
            call = (lesson, "--profile", "tiny", "--output", folder)
            said = run_notebooks(*call, cold=lesson == cold)
            (folder / "printed.txt").write_text(said, encoding="utf-8")

        return made_once(f"course-{lesson}", make, **how)

    for lesson in sorted(dealt.LESSONS, key=dealt.seconds, reverse=True):
        with contextlib.suppress(Timeout, pytest.fail.Exception):  # raised again below
            execute(lesson, wait=False)
    parts = [execute(lesson) for lesson in dealt.LESSONS]
    output = made_once("course", lambda folder: gather(parts, folder))
    rows = json.loads((output / "course.json").read_text(encoding="utf-8"))
    executed = {path.stem: path for path in (output / "notebooks").glob("*.ipynb")}
    printed = (output / "printed.txt").read_text(encoding="utf-8")
    return CourseRun({row["lesson"]: row for row in rows}, executed, printed)


def gather(parts: list[Path], folder: Path) -> None:
    """Puts the runs of single lessons into one folder, as a run of them all."""
    rows = []
    for part in parts:
        rows += json.loads((part / "course.json").read_text(encoding="utf-8"))
        shutil.copytree(part / "notebooks", folder / "notebooks", dirs_exist_ok=True)
    write_json(folder / "course.json", rows, indent=2)
    said = [(part / "printed.txt").read_text(encoding="utf-8") for part in parts]
    (folder / "printed.txt").write_text("".join(said), encoding="utf-8")


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
