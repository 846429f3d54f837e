"""The process of a server: started, waited for, and ended whatever happens.

It is bound to the loopback address, and ends with `stop`, with the interpreter, and,
should that be killed, by itself: `python -m helpers.serving` looks after it.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from helpers import UserError
from helpers.files import ROOT

HOST = "127.0.0.1"
LOG_LINES = 15
LOOK_SECONDS = 0.2


class ServerError(UserError):
    """A server that did not start. First line: what happened; then its last output."""


class Server:
    """A running server. url: what an OpenAI client takes as base_url; pid: its group.

    model: the name under which clients ask for the model. log: the file of its output.
    """

    def __init__(self, process: subprocess.Popen, model: str, port: int, log: Path):
        self.process, self.model, self.log = process, model, log
        self.pid, self.url = process.pid, f"http://{HOST}:{port}/v1"

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def healthy(self) -> bool:
        """Whether the server answers that it is."""
        address = self.url.removesuffix("v1") + "health"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Ends the server and whatever it started. May be called again."""
        atexit.unregister(self.stop)
        end_group(self.process)

    def last_lines(self) -> str:
        """The end of what the server has written."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.rstrip().splitlines()[-LOG_LINES:])


def begin(
    command: list[str], model: str, port: int, wait: float, work: Path, own: dict
) -> Server:
    """The Server that a command starts, once it is healthy.

    work: a folder for its log. own: what its environment has beyond this process's.
    Raises ServerError for a server that ends, or is not healthy in time; then, as
    after an interruption, no process is left.
    """
    work.mkdir(parents=True, exist_ok=True)
    _ask_no_proxy()
    log = work / f"log-{port}.txt"
    server = Server(launch(command, log, os.environ | own), model, port, log)
    atexit.register(server.stop)
    try:
        wait_until_healthy(server, wait)
    except BaseException:  # an interrupted cell must not leave a server either
        server.stop()
        raise
    return server


def _ask_no_proxy() -> None:
    """Lets clients in this process reach HOST where http_proxy is set."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = os.environ.get(name, "").split(",")
        os.environ[name] = ",".join(filter(None, dict.fromkeys([*hosts, HOST])))


def check_model(folder: Path, chats: bool = True) -> None:
    """Raises ServerError for a folder without a whole model, or a chat template.

    chats: whether the template must be the folder's own.
    """
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        found = "an adapter without its base" if adapter else "no config.json"
        raise ServerError(
            f"requires a folder with a whole model, got {folder.name!r} with {found}: "
            "serve what merge_and_unload() and save_pretrained() wrote"
        )
    # Else a server would be healthy, and fail at every chat.
    if chats and not chat_template(folder):
        raise ServerError(
            f"requires a chat template, got {folder.name!r} without one: set "
            "tokenizer.chat_template, then tokenizer.save_pretrained() into the folder"
        )


def chat_template(folder: Path) -> str:
    """The chat template in a tokenizer's files, where transformers looks, or ""."""
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
            found = json.loads((folder / name).read_text("utf-8"))["chat_template"]
            if isinstance(found, list):  # several, by name
                found = {one["name"]: one["template"] for one in found}["default"]
            if found:
                return found
    return ""


def free_port(port: int | None = None) -> int:
    """That port of the loopback address, or any free one. Raises ServerError."""
    try:
        with socket.create_server((HOST, port or 0)) as probe:
            return probe.getsockname()[1]
    except OSError:
        what = f"requires a port that is free, got {port}, in use: leave port out"
        raise ServerError(what) from None


def launch(command: list[str], log: Path, environment: dict) -> subprocess.Popen:
    """The process of a server, in a group of its own, its output in the log."""
    watched = [sys.executable, "-m", "helpers.serving", str(os.getpid()), *command]
    with open(log, "w", encoding="utf-8") as output:
        return subprocess.Popen(
            watched,
            cwd=ROOT,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_healthy(server: Server, seconds: float) -> None:
    """Waits until the server answers. Raises ServerError with its last output."""
    end = time.monotonic() + seconds
    while not server.healthy():
        if server.running and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            continue
        what = f"was not healthy within {seconds:g} s"
        if not server.running:
            what = f"ended with code {server.process.returncode}"
        raise ServerError(f"the server {what}; its last output:\n{server.last_lines()}")


def end_group(process: subprocess.Popen) -> None:
    """Kills a process and its group, and waits until it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            end_tree(process.pid)
    process.wait()


def end_tree(pid: int) -> None:
    """Kills a process and all below it: Windows has no groups."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                one.kill()
