"""An OpenAI-compatible server on this machine, for as long as a lesson needs it.

    server = start("folder/of/a/model")
    client = openai.OpenAI(base_url=server.url, api_key="unused")

The server is `transformers serve` in a process of its own, bound to the loopback
address. It ends with `stop`, with the interpreter, and, should that be killed, by
itself: a thread in the server notices that its parent is gone.
"""

import atexit
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from helpers import UserError
from helpers.files import ROOT

HOST = "127.0.0.1"
NEEDED = ("fastapi", "uvicorn", "openai")
LOG_LINES = 15
LOOK_SECONDS = 0.2
# Requests that arrive together are answered together. The cache is sized here: left
# alone, it takes most of the memory that is free.
BATCHING = (
    *("--continuous-batching", "--attn-implementation", "sdpa"),
    *("--cb-block-size", "32", "--cb-num-blocks", "256"),  # 8,192 tokens in all
    *("--cb-max-batch-tokens", "512"),
)


class ServerError(UserError):
    """A server that did not start. First line: what happened; then its last output."""


class Server:
    """A running server. url: what an OpenAI client takes as base_url; pid: its process.

    model: the name under which clients ask for the model, its absolute folder.
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


def start(
    folder,
    port: int | None = None,
    device: str = "cpu",
    wait: float = 120,
    work="build/runs/server",
) -> Server:
    """Starts a server for the model in a folder; the Server, once it is healthy.

    folder: a whole model; merge an adapter into it, or put its files beside the base's.
    port: a free one is chosen. device: "cpu", "cuda" or "auto". wait: seconds allowed.
    work: a folder for the log and for an HF_HOME of the server's own.
    Raises ServerError: for a folder without a model, a missing package, a port in
    use, a server that ends or is not healthy in time. Then no process is left.
    """
    folder, work = Path(folder).resolve(), Path(work).resolve()
    check(folder)
    port = free_port(port)
    (work / "hub").mkdir(parents=True, exist_ok=True)  # without it /v1/models is a 500
    log = work / f"log-{port}.txt"
    server = Server(launch(folder, port, device, work, log), str(folder), port, log)
    atexit.register(server.stop)
    try:
        wait_until_healthy(server, wait)
    except BaseException:  # an interrupted cell must not leave a server either
        server.stop()
        raise
    return server


def check(folder: Path) -> None:
    """Raises ServerError for a folder that cannot be served, or a missing package."""
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        found = "an adapter without its base" if adapter else "no config.json"
        raise ServerError(
            f"requires a folder with a whole model, got {folder.name!r} with {found}: "
            "serve what merge_and_unload() and save_pretrained() wrote"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        what = " ".join(missing)
        raise ServerError(f"serving requires {what}, not installed: pip install {what}")


def free_port(port: int | None = None) -> int:
    """That port of the loopback address, or any that nobody listens on just now.

    Raises ServerError where somebody listens on it.
    """
    try:
        with socket.create_server((HOST, port or 0)) as probe:
            return probe.getsockname()[1]
    except OSError:
        what = f"requires a port that is free, got {port}, in use: leave port out"
        raise ServerError(what) from None


def launch(
    folder: Path, port: int, device: str, work: Path, log: Path
) -> subprocess.Popen:
    """The process of a server, in a group of its own, its output in the log."""
    command = [sys.executable, "-m", "helpers.serving", str(os.getpid())]
    command += ["serve", str(folder), "--host", HOST, "--port", str(port)]
    command += ["--device", device, *BATCHING]
    own = {"HF_HOME": str(work), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with open(log, "w", encoding="utf-8") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | own,
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
            process.kill()
    process.wait()


def end_with(parent: int) -> None:
    """Ends this process as soon as its parent is another one: the parent was killed."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def main() -> None:
    """The server process: `python -m helpers.serving PARENT serve FOLDER ...`."""
    parent = int(sys.argv.pop(1))
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    from transformers.cli.transformers import app

    app()


if __name__ == "__main__":
    main()
