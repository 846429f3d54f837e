"""The process of a server is waited for, and never outlives who started it."""

import os
import socket
import subprocess
import sys
import time

import openai
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import v4

from helpers import serving
from helpers.files import ROOT
from helpers.serving import ServerError, process
from tests.serving.conftest import HEALTHY

WITH_CHILD = (
    "import subprocess, sys\n"
    "call = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
    "print(subprocess.Popen(call).pid, flush=True)\n"
)
# Its child takes no hint.
STUBBORN = WITH_CHILD.replace(
    "import time;", "import signal, time; signal.signal(15, signal.SIG_IGN);"
)
needs_groups = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no process groups to end"
)


def gone(pid, seconds=10):
    """Whether a process ends within that time; a zombie has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid):
            return True
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_port_in_use_is_refused(folder):
    with socket.create_server((process.HOST, 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(ServerError, match=f"got {port}, in use"):
            serving.start(folder, port=port)


def test_a_free_port_can_be_listened_on():
    with socket.create_server((process.HOST, process.free_port())):
        pass


def test_a_proxy_is_not_asked(folder, pretend, monkeypatch, tmp_path):
    """Nor by the client of a lesson, which reads the same variables."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.delenv("NO_PROXY", raising=False)
    pretend(HEALTHY)
    server = serving.start(folder, wait=20, work=tmp_path)
    with openai.OpenAI(base_url=server.url, api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):  # it answers
            client.models.list()
    server.stop()
    assert os.environ["no_proxy"] == f"localhost,{process.HOST}"


def test_a_server_that_ends_tells_its_last_words(folder, pretend, tmp_path):
    pretend("import sys; print('first\\nthe reason'); sys.exit(3)")
    with pytest.raises(ServerError) as caught:
        serving.start(folder, work=tmp_path)
    first, *rest = str(caught.value).splitlines()
    assert first == "the server ended with code 3; its last output:"
    assert rest == ["first", "the reason"]


def test_a_server_that_is_never_healthy_is_ended(folder, pretend, tmp_path):
    pretend("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    with pytest.raises(ServerError, match="not healthy within 1 s") as caught:
        serving.start(folder, wait=1, work=tmp_path)
    assert gone(int(str(caught.value).splitlines()[-1]))


@needs_groups
def test_stopping_ends_the_whole_group_and_may_be_repeated(folder, pretend, tmp_path):
    pretend(WITH_CHILD + HEALTHY)
    server = serving.start(folder, work=tmp_path)
    child = int(server.last_lines().splitlines()[0])
    assert psutil.pid_exists(child) and server.running and server.healthy()
    server.stop()
    server.stop()
    assert gone(server.pid) and gone(child)
    assert not server.running and not server.healthy()


def test_without_groups_all_that_a_server_started_ends(folder, pretend, monkeypatch):
    pretend(WITH_CHILD + HEALTHY)
    server = serving.start(folder, work=folder)
    child = int(server.last_lines().splitlines()[0])
    monkeypatch.delattr(os, "killpg", raising=False)
    server.stop()
    assert gone(server.pid) and gone(child)


def test_a_wait_that_is_interrupted_leaves_nothing(folder, pretend, monkeypatch):
    pretend(HEALTHY)
    started = []

    def interrupted(server, seconds):
        started.append(server.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "wait_until_healthy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        serving.start(folder, work=folder)
    assert gone(started[0])


def watched(code, log):
    """A process that starts such a server and is killed then; the server's child."""
    start = (
        "import os, sys\nfrom pathlib import Path\n"
        "from helpers.serving.process import launch\n"
        f"launch([sys.executable, '-c', {code!r}], Path({str(log)!r}), os.environ)\n"
        "input()\n"
    )
    call = [sys.executable, "-c", start]
    with subprocess.Popen(call, cwd=ROOT, stdin=-1) as parent:
        end = time.monotonic() + 20
        while not (log.exists() and log.read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        parent.kill()
    return int(log.read_text())


@needs_groups
def test_a_killed_parent_leaves_nothing_of_the_server(tmp_path):
    code = STUBBORN + "import time; time.sleep(600)"
    assert gone(watched(code, tmp_path / "log.txt"))


@needs_groups
def test_a_server_that_crashes_leaves_no_child(tmp_path):
    log = tmp_path / "log.txt"
    call = [sys.executable, "-c", WITH_CHILD + "import os; os._exit(4)"]
    assert process.launch(call, log, os.environ).wait(20) == 4
    assert gone(int(log.read_text()))


@pytest.mark.parametrize("code", [0, 3])
def test_the_watcher_ends_as_the_server_does(tmp_path, code):
    server = process.launch(
        [sys.executable, "-c", f"print('out'); raise SystemExit({code})"],
        tmp_path / "log.txt",
        os.environ,
    )
    assert server.wait(20) == code
    assert (tmp_path / "log.txt").read_text().split() == ["out"]


@pytest.mark.slow
def test_it_ends_when_a_cell_fails(folder, tmp_path):
    """Even one that would not notice by itself that its parent is gone."""
    call = f"[sys.executable, '-c', {HEALTHY!r}, command[command.index('--port') + 1]]"
    launch = f"subprocess.Popen({call}, start_new_session=True, stderr=-3)"
    cells = [
        "import subprocess, sys\nfrom helpers import serving\n"
        "from helpers.serving import process\n"
        f"process.launch = lambda command, log, environment: {launch}\n"
        f"print(serving.start({str(folder)!r}, work={str(tmp_path)!r}).pid)",
        "1 / 0",
    ]
    book = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(book, resources={"metadata": {"path": str(ROOT)}})
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        client.execute()
    assert gone(int(book.cells[0].outputs[0].text))
