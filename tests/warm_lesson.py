"""The worker of a lesson and its kernel, both warm; see warm.py and course/worker.py.

Usage: python -m tests.warm_lesson TASK. The kernel is a fork of this process, made
while it has one thread, which waits to be told what to run. Of what a cell starts, a
launcher is warm, with its processes, and the proof of a merge; the memory that these
take is not counted to the lesson. The notebook is written at its end, not also at each
cell.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

from tests.warm import NUMBER, Process, Program, become

LAUNCH = "jupyter_client.provisioning.local_provisioner.launch_kernel"
LAUNCHERS = ("accelerate.commands.launch", "torch.distributed.run")
cold_run = subprocess.run


class Popen(subprocess.Popen):
    """For the cells of a lesson: a launcher is warm, all else is as it would be."""

    def __new__(cls, args, *others, **how):
        """Its errors are taken to go where its output goes."""
        if _asks(args)[:1] != ["-m"] or args[2] not in LAUNCHERS:
            return super().__new__(cls)
        call, said = ["tests.finetune.two_processes", *args[2:]], how["stdout"].fileno()
        with open(os.devnull) as nothing:
            return Process(call, [nothing.fileno(), said, said], how["env"])


def run(args, *others, **how) -> subprocess.CompletedProcess:
    """For the cells of a lesson: the new process of a merge's proof is warm."""
    if not str(*_asks(args)[:1]).endswith("helpers/merge/fresh.py"):
        return cold_run(args, *others, **how)
    with tempfile.TemporaryDirectory() as folder:
        return Program(Path(folder), *args[1:], cwd=how["cwd"], env=how["env"]).wait()


def _asks(args) -> list:
    """What a command asks of this Python: a module, a file, nothing."""
    return args[1:] if isinstance(args, list) and args[0] == sys.executable else []


class Kernel:
    """What jupyter_client takes for a subprocess.Popen: it waits, then is a kernel."""

    stdin = stdout = stderr = returncode = None

    def __init__(self):
        own, other = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            own.close()
            _wait(other)
        other.close()
        self.socket = own

    def launch(self, command: list[str], env: dict, cwd=".", **_) -> "Kernel":
        """Begins `python -m MODULE ARGUMENTS...`, the command of a kernel's spec."""
        assert command[:2] == [sys.executable, "-m"], command
        env = env | {"JPY_PARENT_PID": str(os.getpid())}  # with which it ends
        cwd = os.path.abspath(cwd)
        data = json.dumps({"call": command[2:], "env": env, "cwd": cwd}).encode()
        self.socket.sendall(NUMBER.pack(len(data)) + data)
        return self

    def poll(self) -> int | None:
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        return self._ended(0)

    def _ended(self, how: int) -> int | None:
        if self.returncode is None and (found := os.waitpid(self.pid, how))[0]:
            self.returncode = os.waitstatus_to_exitcode(found[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _wait(caller: socket.socket) -> None:
    """The kernel, from here to its end."""
    os.setsid()
    os.dup2(2, 1)  # reports of the worker are not its
    asked = caller.recv(NUMBER.size, socket.MSG_WAITALL)
    if not asked:
        os._exit(0)
    task = json.loads(caller.recv(NUMBER.unpack(asked)[0], socket.MSG_WAITALL))
    caller.close()
    subprocess.Popen, subprocess.run = Popen, run
    become(task["call"], (0, 1, 2), task["env"], task["cwd"])


if __name__ == "__main__":
    kernel = Kernel()  # made before the course is imported: a lesson has to find it
    import papermill

    from helpers.course import worker

    once = partial(papermill.execute_notebook, request_save_on_cell_execute=False)
    with (
        mock.patch(LAUNCH, kernel.launch),
        mock.patch("papermill.execute_notebook", once),
    ):
        worker.main(json.loads(sys.argv[1]) | {"parent": os.getppid()})
