"""A server starts, answers as the model does, and never outlives who started it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import openai
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import v4

from helpers import serving
from helpers.files import ROOT
from helpers.serving import ServerError

HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
WITH_CHILD = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)\n"
    "print(child.pid, flush=True)\n"
)


@pytest.fixture
def folder(tmp_path):
    """What looks like a model from the outside."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def pretend(monkeypatch):
    """Let some code be the server: pretend(code); it gets its port as argument."""

    def replace(code):
        def launch(folder, port, device, work, log):
            call = [sys.executable, "-c", code, str(port)]
            with open(log, "w") as output:
                options = {"stdout": output, "stderr": output}
                return subprocess.Popen(call, start_new_session=True, **options)

        monkeypatch.setattr(serving, "launch", launch)

    return replace


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


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ServerError, match="whole model.*with no config.json"):
        serving.start(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ServerError, match="an adapter without its base.*merge"):
        serving.start(tmp_path)


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setattr(serving, "NEEDED", ("openai", "no_such_package"))
    with pytest.raises(ServerError, match="pip install no_such_package"):
        serving.start(folder)


def test_a_port_in_use_is_refused(folder):
    with socket.create_server((serving.HOST, 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(ServerError, match=f"got {port}, in use"):
            serving.start(folder, port=port)


def test_a_free_port_can_be_listened_on():
    with socket.create_server((serving.HOST, serving.free_port())):
        pass


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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to end")
def test_stopping_ends_the_whole_group_and_may_be_repeated(folder, pretend, tmp_path):
    pretend(WITH_CHILD + HEALTHY)
    server = serving.start(folder, work=tmp_path)
    child = int(server.last_lines().splitlines()[0])
    assert psutil.pid_exists(child) and server.running and server.healthy()
    server.stop()
    server.stop()
    assert gone(server.pid) and gone(child)
    assert not server.running and not server.healthy()


def test_a_wait_that_is_interrupted_leaves_nothing(folder, pretend, monkeypatch):
    pretend(HEALTHY)
    started = []

    def interrupted(server, seconds):
        started.append(server.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "wait_until_healthy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        serving.start(folder, work=folder)
    assert gone(started[0])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """The tiny base in fp32, where a batch changes no answer."""
    from helpers.config import load_profile
    from helpers.models.loading import load_model, load_tokenizer

    folder, profile = tmp_path_factory.mktemp("model"), load_profile("tiny")
    load_model(profile).save_pretrained(folder)
    load_tokenizer(profile).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(model_folder, tmp_path_factory):
    """The real server, with the process that started it, its parent."""
    work = tmp_path_factory.mktemp("work")
    code = (
        "import json, time\nfrom helpers.serving import start\n"
        f"server = start({str(model_folder)!r}, work={str(work)!r})\n"
        "shown = {name: getattr(server, name) for name in ('pid', 'url', 'model')}\n"
        "print(json.dumps(shown), flush=True)\ntime.sleep(600)\n"
    )
    call = [sys.executable, "-c", code]
    with subprocess.Popen(call, cwd=ROOT, stdout=-1, text=True) as parent:
        try:
            yield SimpleNamespace(parent=parent, **json.loads(parent.stdout.readline()))
        finally:
            parent.kill()


@pytest.mark.slow
def test_it_listens_on_the_loopback_address_only(server):
    open_sockets = psutil.Process(server.pid).net_connections()
    listening = [c.laddr.ip for c in open_sockets if c.status == psutil.CONN_LISTEN]
    assert set(listening) == {serving.HOST}


@pytest.mark.slow
def test_it_answers_as_the_model_does(server):
    from helpers.config import load_profile
    from helpers.evaluation.generation import generate
    from helpers.models.loading import load_model, load_tokenizer

    profile = load_profile("tiny")
    model, tokenizer = load_model(profile), load_tokenizer(profile)
    chats = [[{"role": "user", "content": f"Order G452{k} is late."}] for k in range(5)]
    local = generate(model, tokenizer, chats, max_new_tokens=12)
    settings = {"model": server.model, "temperature": 0, "max_tokens": 12}

    async def fifty():
        async with openai.AsyncOpenAI(base_url=server.url, api_key="x") as client:
            ask = client.chat.completions.create
            waiting = [ask(messages=chat, **settings) for chat in chats * 10]
            return await asyncio.gather(*waiting)

    served = [reply.choices[0].message.content for reply in asyncio.run(fifty())]
    assert served == local * 10
    with openai.OpenAI(base_url=server.url, api_key="x") as client:
        client.models.list()  # fails where the server has no hub folder
        chunks = client.chat.completions.create(
            messages=chats[0], stream=True, **settings
        )
        pieces = [c.choices[0].delta.content for c in chunks if c.choices]
    assert "".join(filter(None, pieces)) == local[0] and len(pieces) > 3


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_it_ends_when_its_parent_is_killed(server):
    """The last test that sees this server."""
    assert psutil.Process(server.pid).is_running()
    server.parent.send_signal(signal.SIGKILL)
    server.parent.wait()
    assert gone(server.pid)


@pytest.mark.slow
def test_it_ends_when_a_cell_fails(folder, tmp_path):
    """Even one that would not notice by itself that its parent is gone."""
    call = f"[sys.executable, '-c', {HEALTHY!r}, str(port)]"
    launch = f"subprocess.Popen({call}, start_new_session=True, stderr=-3)"
    cells = [
        "import subprocess, sys\nfrom helpers import serving\n"
        f"serving.launch = lambda folder, port, *rest: {launch}\n"
        f"print(serving.start({str(folder)!r}, work={str(tmp_path)!r}).pid)",
        "1 / 0",
    ]
    book = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(book, resources={"metadata": {"path": str(ROOT)}})
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        client.execute()
    assert gone(int(book.cells[0].outputs[0].text))


@pytest.mark.slow
def test_a_broken_model_is_refused_with_the_log(tmp_path):
    (tmp_path / "config.json").write_text("not JSON")
    with pytest.raises(ServerError, match="ended with code [1-9]") as caught:
        serving.start(tmp_path, work=tmp_path)
    assert "config.json" in str(caught.value)
