"""The course runner on small notebooks that need no model."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest
from nbformat import v4, write

from helpers import UserError, config, run_command
from helpers.course import __main__ as course_command
from helpers.course import read_figures, record, runner
from helpers.course.__main__ import choose_lessons, main
from helpers.course.figures import figure_lines
from helpers.course.report import table
from helpers.course.runner import environment
from helpers.course.worker import Watch, last_output
from helpers.environment import KEEP_MEMORY
from helpers.files import ROOT

PARAMETERS = 'PROFILE = "auto"\nN = 1'
IMPORT = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
IMPORT += "from helpers.course import record\n"
LIKE_MAKE = "import subprocess, sys; subprocess.run(sys.argv[1:])"
SLOW = """import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path("pids.part").write_text(f"{os.getppid()} {os.getpid()} {child.pid}")
os.replace("pids.part", "pids")
time.sleep(300)"""


def make_notebook(path, *sources, parameters=PARAMETERS):
    """Write a notebook of a title, a parameters cell and code cells."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = v4.new_notebook(metadata={"kernelspec": spec})
    book.cells = [v4.new_markdown_cell("# Title")]
    if parameters:
        tags = {"tags": ["parameters"]}
        book.cells.append(v4.new_code_cell(parameters, metadata=tags))
    book.cells += [v4.new_code_cell(source) for source in sources]
    write(book, path)
    return path


def command(folder, *arguments):
    """Return the command line that runs the notebooks of `folder` into it."""
    places = ["--notebooks", str(folder), "--output", str(folder / "build")]
    return [sys.executable, "-m", "helpers.course", *arguments, *places]


def run(folder, *arguments):
    return subprocess.run(
        command(folder, *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Started(NamedTuple):
    """A run in the middle of a cell."""

    folder: Path
    process: subprocess.Popen

    def pids(self):
        """Return the ids of the worker, its kernel, and what the cell started."""
        return [int(pid) for pid in (self.folder / "pids").read_text().split()]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """{how it will end: Started} of three runs, begun at once to wait once."""
    runs, options = {}, {"cwd": ROOT, "stderr": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        for how in ("interrupt", "kill", "make"):
            folder = tmp_path_factory.mktemp(how)
            make_notebook(folder / "00_slow.ipynb", SLOW)
            call = command(folder)
            if how == "make":
                call = [sys.executable, "-c", LIKE_MAKE, *call, "--end-with-parent"]
            process = stack.enter_context(subprocess.Popen(call, **options))
            stack.callback(process.kill)
            runs[how] = Started(folder, process)
        for run in runs.values():
            assert wait_until((run.folder / "pids").exists)
        yield runs


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a child")
def test_interrupt_leaves_nothing_running(started):
    (folder, process), pids = started["interrupt"], started["interrupt"].pids()
    assert all(map(running, pids))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert not any(map(running, pids))
    assert process.stderr.read().count("\n") == 1
    assert not list((folder / "build").glob(".run-*"))
    assert not (folder / "build" / "course.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a dead parent's id")
def test_run_started_by_make_ends_with_make(started):
    (folder, make), pids = started["make"], started["make"].pids()
    assert all(map(running, pids))
    make.kill()
    make.wait()
    assert wait_until(lambda: not any(map(running, pids)), seconds=10)
    build = folder / "build"
    assert wait_until(lambda: not list(build.glob(".run-*")), seconds=10)


@pytest.fixture(scope="module")
def killed(started):
    """A run whose runner has just been killed."""
    run = started["kill"]
    run.process.kill()
    run.process.wait()
    return run


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a dead parent's id")
def test_killed_runner_leaves_nothing_running(killed):
    """But a folder, which the next run clears: `mixed` is that one."""
    assert wait_until(lambda: not any(map(running, killed.pids())), seconds=10)
    assert list((killed.folder / "build").glob(".run-*"))


@pytest.fixture(scope="module")
def mixed(killed):
    """One run of five lessons: two work, one raises, two lose a process."""
    folder = killed.folder
    (folder / "00_slow.ipynb").unlink()
    # Longer than SHARED_SECONDS: the look while it was being filled is not the last.
    block = "block = bytearray(200 * 2**20)\nimport time; time.sleep(1.3)"
    last = IMPORT + 'record("00_works", base=0, after=N / 8, chosen=PROFILE)'
    make_notebook(folder / "00_works.ipynb", block, last)
    lines = "for i in range(30):\n    print('line', i)\n"
    make_notebook(folder / "01_raises.ipynb", "", lines + "raise ValueError('boom')")
    kill = "import os\nprint('last words', flush=True)\nos.kill(os.getpid(), 9)"
    make_notebook(folder / "02_dies.ipynb", kill)
    env = "import os\nassert os.environ['HF_HUB_OFFLINE'] == '1'\n"
    env += "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
    env += "assert os.path.exists('00_works.ipynb')"
    make_notebook(folder / "03_environment.ipynb", env)
    lose = "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(300)"
    make_notebook(folder / "04_loses_worker.ipynb", lose)
    return folder, run(folder, "-p", "N", "4")


@pytest.mark.slow
def test_course_json_holds_a_row_for_each_lesson_that_ran(mixed):
    folder, done = mixed
    rows = json.loads((folder / "build" / "course.json").read_text(encoding="utf-8"))
    assert [row["lesson"] for row in rows] == ["00_works", "03_environment"]
    keys = ["lesson", "profile", "seconds", "peak_rss_mib", "figures", "parameters"]
    assert list(rows[0]) == keys
    assert rows[0]["profile"] == "tiny" and rows[0]["seconds"] > 0.7
    assert rows[0]["figures"] == {"base": 0, "after": 0.5, "chosen": "tiny"}
    assert rows[1]["figures"] == {} and rows[1]["parameters"] == {"N": 4}


@pytest.mark.slow
def test_peak_memory_sees_what_a_lesson_allocates(mixed):
    rows = json.loads((mixed[0] / "build" / "course.json").read_text(encoding="utf-8"))
    with_block, without = (row["peak_rss_mib"] for row in rows)
    assert 180 < with_block - without < 260


FORKS = """import os, time
block = b"x" * (200 * 2**20)
os.fork(), os.fork()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not psutil.LINUX, reason="PSS is Linux's")
def test_memory_that_processes_share_counts_once():
    with subprocess.Popen([sys.executable, "-c", FORKS], stdout=-1) as first:
        for _ in range(4):
            first.stdout.readline()
        watch, process = Watch(0, ""), psutil.Process(first.pid)
        watch.look(process)
        for found in (*process.children(recursive=True), process):
            found.kill()
    # Three of four processes are looked at: 600 MiB, were each to count for itself.
    assert 140 < watch.peak_rss_mib < 220


@pytest.mark.slow
def test_table_is_the_last_thing_printed(mixed):
    lines = mixed[1].stdout.splitlines()
    assert lines[0].split() == ["lesson", "seconds", "peak", "MiB", "figures"]
    assert lines[1].startswith("00_works") and lines[1].endswith("base    0")
    assert lines[2].split() == ["after", "0.5"]


@pytest.mark.slow
def test_failure_names_cell_error_and_last_output(mixed):
    folder, done = mixed
    assert done.returncode == 1
    assert "FAILED 01_raises.ipynb, cell 4 of 4: ValueError: boom" in done.stderr
    assert "| line 29" in done.stderr and "line 19\n" not in done.stderr
    assert "FAILED 02_dies.ipynb, cell 3 of 3: DeadKernelError" in done.stderr
    assert "FAILED 04_loses_worker.ipynb, its process ended" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_notebooks_lie_where_their_outcome_says(mixed):
    build = mixed[0] / "build"
    names = {p.name: sorted(q.stem for q in p.iterdir()) for p in build.glob("[!.]*/")}
    assert names["notebooks"] == ["00_works", "03_environment"]
    assert names["failed"] == ["01_raises", "02_dies", "04_loses_worker"]
    assert not list(build.glob(".run-*"))


def test_a_folder_that_a_killed_run_of_the_same_id_left_is_cleared(tmp_path):
    """Ids come again in a container."""
    left = tmp_path / f".run-{os.getpid()}"
    (left / "jupyter" / "kernels" / runner.KERNEL).mkdir(parents=True)
    (left / "old").touch()
    assert runner.prepare(tmp_path, []) == left and not (left / "old").exists()


@pytest.fixture
def folder(tmp_path):
    make_notebook(tmp_path / "00_start.ipynb", "1")
    make_notebook(tmp_path / "03_lora.ipynb", "1")
    return tmp_path


def refuse(folder, *arguments):
    """Return the exit code of the command, run in this process."""
    return run_command("course", main, command(folder, *arguments)[3:])


REFUSED = [
    (["7"], "no lesson '7' in", "00_start, 03_lora"),
    (["lora"], "no lesson 'lora'", "00_start, 03_lora"),
    (["--profile", "huge"], "no profile 'huge'", "tiny"),
    (["00", "-p", "STEPS", "3"], "00_start.ipynb: no parameter 'STEPS'", "N, PROFILE"),
    (["-p", "PROFILE", "tiny"], "--profile", ""),
    (["--jobs", "0"], "--jobs must be 1 or more, got 0", ""),
    (["--jobs", "two"], "invalid int value: 'two'", ""),
    (["--unknown"], "unrecognized arguments: --unknown", ""),
]


@pytest.mark.parametrize(("arguments", "said", "there_are"), REFUSED)
def test_wrong_request_is_one_line_and_exit_code_2(
    folder, capsys, arguments, said, there_are
):
    assert refuse(folder, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert said in printed.err and there_are in printed.err
    assert not (folder / "build").exists()


@pytest.mark.parametrize(
    ("jobs", "begun"), [(2, ["new", "long", "short"]), (1, ["short", "long", "new"])]
)
def test_several_lessons_at_a_time_begin_with_the_longest(
    tmp_path, monkeypatch, jobs, begun
):
    books = [make_notebook(tmp_path / f"{n}.ipynb") for n in ("short", "long", "new")]
    started = []

    def start(notebook, args, work, events):
        started.append(notebook.stem)
        events.put((notebook.stem, {"event": "done"}))

    usual = {"short": 1.0, "long": 2.0}
    monkeypatch.setattr(runner, "usual_seconds", lambda profile: usual)
    monkeypatch.setattr(runner, "start_worker", start)
    monkeypatch.setattr(runner, "finish", lambda *_: None)
    args = SimpleNamespace(notebooks=books, jobs=jobs, profile="tiny")
    runner.run_all(args, tmp_path)
    assert started == begun


@pytest.mark.parametrize(
    ("profile", "jobs", "lessons", "cores", "expected"),
    [
        ("small", 2, 1, 2, 2),
        ("small", 2, 2, 2, 1),
        ("small", 1, 8, 2, 2),
        ("small", 3, 8, 2, 1),
        ("tiny", 2, 1, 8, 1),
        ("gpu-16gb", 1, 8, 8, 8),
    ],
)
def test_a_lesson_takes_the_cores_that_no_other_takes(
    tmp_path, monkeypatch, profile, jobs, lessons, cores, expected
):
    affinity = SimpleNamespace(cpu_affinity=lambda: range(cores))
    monkeypatch.setattr(runner.psutil, "Process", lambda: affinity)
    monkeypatch.setattr(runner.os, "cpu_count", lambda: cores)
    args = SimpleNamespace(profile=profile, jobs=jobs, notebooks=[tmp_path] * lessons)
    assert runner.threads(args) == expected
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    env = runner.environment(profile, tmp_path, "00", runner.threads(args))
    assert env["OMP_NUM_THREADS"] == str(expected)


def test_a_worker_starts_with_the_threads_of_its_lesson(tmp_path, monkeypatch):
    started = []

    def popen(command, env, **_):
        started.append(env["OMP_NUM_THREADS"])
        return SimpleNamespace(stdout=[], wait=lambda: 0)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runner, "threads", lambda args: 7)
    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    args = SimpleNamespace(profile="small", parameters={})
    runner.start_worker(tmp_path / "00.ipynb", args, tmp_path, queue.Queue())
    assert started == ["7"]


def test_a_lesson_keeps_the_memory_that_a_training_frees(tmp_path, monkeypatch):
    for name in KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    env = runner.environment("tiny", tmp_path, "00")
    assert KEEP_MEMORY.items() <= env.items()
    monkeypatch.setenv("MALLOC_TOP_PAD_", "7")  # the reader's own counts
    assert runner.environment("tiny", tmp_path, "00")["MALLOC_TOP_PAD_"] == "7"


def test_lessons_that_start_from_an_adapter_wait_until_it_is_trained(tmp_path):
    names = ("starts_from_it", "other", "00_start_here")
    waiting = [make_notebook(tmp_path / f"{name}.ipynb") for name in names]
    starts, other, first = waiting
    make_notebook(starts, "folder = adapter_folder(profile, ADAPTER)")
    training = {first.stem: first}
    assert runner.choose(waiting, {}, "small") == first
    assert runner.choose([starts, other], training, "small") == other
    assert runner.choose([starts], training, "small") == starts  # nothing else to do
    assert runner.choose([starts, other], {other.stem: other}, "small") == starts
    assert runner.choose(waiting, {}, "tiny") == starts  # whose adapter is shipped


@pytest.mark.parametrize(
    ("profile", "cores", "gib", "jobs"),
    [
        ("tiny", 4, 1, 2),
        ("tiny", 1, 64, 1),
        ("small", 4, 17, 2),
        ("small", 4, 15, 1),  # a lesson takes up to eight
        ("gpu-24gb", 4, 64, 1),
    ],
)
def test_two_lessons_run_at_a_time_where_there_is_room(
    profile, cores, gib, jobs, monkeypatch
):
    memory = SimpleNamespace(available=gib * 2**30)
    monkeypatch.setattr(course_command.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(course_command.os, "cpu_count", lambda: cores)
    assert course_command.lessons_at_a_time(profile) == jobs


UNFIT = {
    "no parameters cell": lambda path: make_notebook(path, "1", parameters=None),
    "no PROFILE": lambda path: make_notebook(path, "1", parameters="N = 1"),
    "not JSON": lambda path: path.write_text("{"),
    "not a notebook": lambda path: path.write_text("[1]"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_unfit_notebook_is_one_line_and_exit_code_2(folder, capsys, unfit):
    UNFIT[unfit](folder / "05_unfit.ipynb")
    assert refuse(folder) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("course: 05_unfit.ipynb: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], ["00_start", "03_lora"]),
        (["3"], ["03_lora"]),
        (["03", "3", "03_lora"], ["03_lora"]),
        (["03_lora.ipynb", "00"], ["00_start", "03_lora"]),
    ],
)
def test_lessons_are_chosen_by_number_or_name(folder, names, chosen):
    assert [p.stem for p in choose_lessons(names, folder)] == chosen


def test_folder_without_lessons_is_refused(tmp_path):
    with pytest.raises(UserError, match="no notebooks in"):
        choose_lessons([], tmp_path)


def test_profile_names_come_from_the_profiles(folder, monkeypatch, capsys):
    monkeypatch.setattr(config, "profile_names", lambda: ["auto", "mine"])
    assert refuse(folder, "--profile", "tiny") == 2
    assert "no profile 'tiny'; there are: auto, mine" in capsys.readouterr().err


class Scalar:
    """Stands in for a numpy or torch scalar."""

    def item(self):
        return 0.25


def test_record_displays_and_read_figures_reads_in_the_order_given(
    tmp_path, monkeypatch
):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, raw: shown.append((data, raw))
    )
    record("00_start", exact=Scalar(), before={"b": 1}, after=[True, None, "x"])
    (data, raw), *_ = shown
    assert raw and data["text/plain"].splitlines()[1] == "  exact   0.25"
    path = make_notebook(tmp_path / "a.ipynb", "1")
    book = json.loads(path.read_text(encoding="utf-8"))
    out = {"output_type": "display_data", "metadata": {}, "data": data}
    book["cells"][-1]["outputs"] = [out]
    # As nbformat writes it: keys sorted.
    path.write_text(json.dumps(book, sort_keys=True), encoding="utf-8")
    figures = read_figures(path)
    assert list(figures.items()) == [
        ("exact", 0.25),
        ("before", {"b": 1}),
        ("after", [True, None, "x"]),
    ]


def test_notebook_without_figures_reads_as_none(tmp_path):
    assert read_figures(make_notebook(tmp_path / "a.ipynb", "1")) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("nan")]])
def test_figure_must_be_finite(value):
    with pytest.raises(ValueError, match="figure 'loss' is not a finite number"):
        record("00_start", loss=value)


def test_figure_must_be_a_number_or_plain():
    with pytest.raises(TypeError, match="figure 'loss' is a object"):
        record("00_start", loss=object())


def test_last_output_drops_rewritten_progress_and_colours():
    text = "1%\r50%\r100%\n\x1b[31mred\x1b[0m\r\nend\n"
    cell = v4.new_code_cell("1", outputs=[v4.new_output("stream", text=text)])
    assert last_output(cell) == ["100%", "red", "end"]


def test_table_of_no_rows_is_its_heading():
    assert table([]) == "lesson  seconds  peak MiB  figures"


def test_figure_lines_align():
    assert figure_lines({"a": 1 / 3, "long": "x"}) == ["a     0.3333", "long  x"]
    assert figure_lines({"a": {"one": {"b": 1}, "two": {}}}) == ["a  one; two"]


def test_lesson_speaks_its_own_language_whatever_the_reader_set(tmp_path, monkeypatch):
    for name in ("LORA_COURSE_LANGUAGE", "JPY_SESSION_NAME", "COURSE_OTHER"):
        monkeypatch.setenv(name, "es")
    found = environment("tiny", tmp_path, "00_works")
    assert found["COURSE_OTHER"] == "es" and "JPY_SESSION_NAME" not in found
    assert "LORA_COURSE_LANGUAGE" not in found
