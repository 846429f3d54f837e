"""Warm programs: all that a program of one's own has, but the cost of its imports."""

import json
import os
import signal
import sys
import time

import psutil
import pytest
from nbformat import v4, write

from tests import warm_lesson
from tests.warm import Program, can_fork

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_fork, reason="no fork here: programs start cold"),
]
TELL = """import json, os, sys
known = [n for n in ("torch", "trl", "matplotlib", "helpers") if n in sys.modules]
print(json.dumps([__name__, sys.argv, sys.path[0], os.getcwd(), known, {**os.environ}]))
print("aside", file=sys.stderr)
"""


def script(folder, text):
    path = folder / "program.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_it_has_arguments_folder_environment_and_output_of_its_own(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    path, env = script(tmp_path, TELL), {"ONLY": "this", "PATH": os.environ["PATH"]}
    done = Program(tmp_path / "said", path, "a", 1, env=env, cwd=there).wait()
    name, arguments, first, folder, known, environment = json.loads(done.stdout)
    assert (name, arguments) == ("__main__", [path, "a", "1"])
    assert (first, folder) == (str(tmp_path), str(there))
    assert known == ["torch", "trl"]  # nothing of the course, and no plots yet
    assert environment == env
    assert done.stderr == "aside\n" and done.returncode == 0


def test_the_kernel_of_a_lesson_knows_nothing_of_the_course(tmp_path, run_notebooks):
    """Else a lesson that does not find the course would import it all the same."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = v4.new_notebook(metadata={"kernelspec": kernel})
    sources = ['PROFILE = "auto"', "import sys\nassert 'torch' in sys.modules"]
    sources += ["assert 'helpers' not in sys.modules, 'it is known'"]
    book.cells = [v4.new_code_cell(source) for source in sources]
    book.cells[0].metadata.tags = ["parameters"]
    (tmp_path / "lessons").mkdir()
    write(book, tmp_path / "lessons" / "01_any.ipynb")
    said = run_notebooks(
        "--notebooks", tmp_path / "lessons", "--output", tmp_path / "run"
    )
    assert "01_any" in said


@pytest.mark.parametrize(
    ("place", "known"), [("helpers/merge", ["torch", "trl"]), ("helpers/other", [])]
)
def test_of_what_a_lesson_runs_the_proof_of_a_merge_is_warm(tmp_path, place, known):
    (tmp_path / place).mkdir(parents=True)
    fresh = tmp_path / place / "fresh.py"
    fresh.write_text(TELL, encoding="utf-8")
    how = {"cwd": tmp_path, "env": {**os.environ}, "capture_output": True, "text": True}
    done = warm_lesson.run([sys.executable, str(fresh), "a"], **how)
    name, (path, *arguments), _, folder, found, _ = json.loads(done.stdout)
    assert (name, path, arguments) == ("__main__", str(fresh), ["a"])
    assert (folder, found, done.stderr) == (str(tmp_path), known, "aside\n")


def test_a_test_process_may_have_processes_of_its_own(tmp_path):
    """They import its main module, and must not do again what it does."""
    code = "from concurrent.futures import ProcessPoolExecutor as Pool\n"
    code += "from multiprocessing import get_context\n"
    code += "with Pool(1, get_context('forkserver')) as pool:\n"
    code += "    print(pool.submit(abs, -7).result())\n"
    done = Program(tmp_path, "tests.warm_worker", "-u", "-c", code).wait()
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_what_else_a_lesson_starts_is_cold():
    with warm_lesson.Popen([sys.executable, "-c", "import sys; sys.exit(3)"]) as other:
        assert isinstance(other, warm_lesson.Popen) and other.wait() == 3


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no room')", 1, "no room\n"),
        ("raise SystemExit", 0, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import atexit; atexit.register(print, 'end')", 0, ""),
    ],
)
def test_it_ends_as_a_program_does(tmp_path, text, code, said):
    done = Program(tmp_path / "said", script(tmp_path, text)).wait()
    assert done.returncode == code and done.stderr.endswith(said)
    assert ("end" in done.stdout) == ("atexit" in text)


def test_a_signal_reaches_it_and_is_its_exit_code(tmp_path):
    program = Program(
        tmp_path / "said", script(tmp_path, "import time; time.sleep(99)")
    )
    assert program.runs()
    program.send(signal.SIGKILL)
    assert program.wait().returncode == -signal.SIGKILL
    program.send(signal.SIGKILL)  # in vain


def test_it_does_not_outlive_the_one_who_started_it(tmp_path):
    program = Program(
        tmp_path / "said", script(tmp_path, "import time; time.sleep(99)")
    )
    process = psutil.Process(program.process.pid)
    program.process.socket.close()  # as the system does at the end of a process
    until = time.monotonic() + 30
    while process.is_running() and time.monotonic() < until:
        time.sleep(0.05)
    assert not process.is_running()
