"""Programs that start warm: forks of one process that has paid for their imports.

`serve` starts that process for a whole session of tests, all its processes; it imports
(warm_imports.py) when the first program is asked for. A `Process` is then
`python -m MODULE ARGUMENTS...`, or `python FILE.py ...`, in a process of its own: it
has its own exit code, environment and output. Where a system cannot fork (Windows) each
starts cold.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from subprocess import CompletedProcess

ADDRESS = "COURSE_TESTS_WARM"  # in the environment: of the process that forks
can_fork = hasattr(os, "fork") and hasattr(socket, "AF_UNIX")
NUMBER = struct.Struct("!q")
# Before a MODULE and its ARGUMENTS: the command of a program that starts warm.
COMMAND = [sys.executable, str(Path(__file__).with_name("warm_program.py"))]


@contextlib.contextmanager
def serve():
    """Starts the process; until then, and after this, programs start cold."""
    if not can_fork:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        address = os.path.join(folder, "socket")
        call = [sys.executable, "-m", "tests.warm", address]
        own = os.environ | {"PYTHONHASHSEED": "0"}
        own.pop("MPLBACKEND", None)
        # Its input ends with the process that started it, and then it ends, too.
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        cwd = Path(__file__).parents[1]
        server = subprocess.Popen(
            call, cwd=cwd, env=own, start_new_session=True, **pipe
        )
        server.stdout.readline()  # it listens
        os.environ[ADDRESS] = address
        yield
        del os.environ[ADDRESS]
        server.communicate()


class Process:
    """`python -m MODULE ARGUMENTS...` or `python FILE.py ARGUMENTS...`, begun.

    files: descriptors of its input, output and errors. most_bytes: what no file may
    pass, as on a full disk. It is killed when this process ends.
    """

    def __init__(self, call: list[str], files, env=None, cwd=None, most_bytes: int = 0):
        request = {"call": call, "env": dict(env or os.environ), "most": most_bytes}
        request |= {"cwd": str(cwd or Path.cwd())}
        data = json.dumps(request).encode()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.environ[ADDRESS])
        socket.send_fds(self.socket, [NUMBER.pack(len(data))], list(files))
        self.socket.sendall(data)
        self.pid, self.returncode = _number(self.socket), None

    def poll(self) -> int | None:
        """Its exit code (a signal's number, negative); None while it runs."""
        if self.returncode is None and select.select([self.socket], [], [], 0)[0]:
            return self.wait()
        return self.returncode

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        if self.returncode is None:
            self.returncode = _number(self.socket)
            self.socket.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, in vain where it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Program:
    """A running program, whose output is kept.

    folder: it gets the files stdout and stderr. how: as for `Process`.
    """

    def __init__(self, folder: Path, module: str, *arguments, **how):
        folder.mkdir(parents=True, exist_ok=True)
        self.files = folder / "stdout", folder / "stderr"
        call = [module, *map(str, arguments)]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(os.devnull))]
            files += [stack.enter_context(path.open("w")) for path in self.files]
            if ADDRESS in os.environ:
                numbers = [file.fileno() for file in files]
                self.process = Process(call, numbers, **how)
                return
            assert "most_bytes" not in how, "no limit of a file's size here"
            how |= dict(zip(("stdin", "stdout", "stderr"), files, strict=True))
            start = [] if module.endswith(".py") else ["-m"]
            self.process = subprocess.Popen([sys.executable, *start, *call], **how)

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def send(self, number: int) -> None:
        """Sends a signal, in vain where it has ended."""
        self.process.send_signal(number)

    def wait(self) -> CompletedProcess:
        """Its exit code (a signal's number, negative) and output, once it has ended."""
        code = self.process.wait()
        said = [path.read_text(encoding="utf-8") for path in self.files]
        return CompletedProcess("", code, *said)


def become(call: list[str], files, env: dict, cwd: str) -> None:
    """Is `python -m MODULE ...` or `python FILE.py ...`, to the end of this process."""
    import atexit
    import runpy
    import traceback

    for number, file in enumerate(files):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    program, *sys.argv[1:] = call
    code, path = 0, program.endswith(".py")
    sys.path[0] = os.path.dirname(program) if path else cwd
    try:
        if path:
            sys.argv[0] = program
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _number(stream: socket.socket) -> int:
    """The next number that arrives."""
    data = stream.recv(NUMBER.size, socket.MSG_WAITALL)
    if len(data) < NUMBER.size:
        raise RuntimeError("the process of warm programs has ended")
    return NUMBER.unpack(data)[0]


def _listen(address: str) -> None:
    """Forks at every call, until this process's input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who ends is forgotten
    listener, ready = socket.socket(socket.AF_UNIX), False
    listener.bind(address)
    listener.listen(100)
    print("ready", flush=True)
    while True:
        if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
            return
        caller, _ = listener.accept()
        if not ready:
            gc.disable()
            import tests.warm_imports  # noqa: F401

            gc.freeze()  # no fork looks for garbage there, which would copy its pages
            gc.enable()
            ready = True
        if os.fork() == 0:
            listener.close()
            _look_after(caller)
        caller.close()


def _look_after(caller: socket.socket) -> None:
    """Starts what a caller asks for; says its id and, at last, its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, files, *_ = socket.recv_fds(caller, NUMBER.size, 3)
    size = NUMBER.unpack(data)[0]
    request = json.loads(caller.recv(size, socket.MSG_WAITALL))
    pid = os.fork()
    if pid == 0:
        caller.close()
        if request["most"]:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (request["most"],) * 2)
        become(request["call"], files, request["env"], request["cwd"])
    for number in (0, 1, 2, *files):
        os.close(number)
    with contextlib.suppress(OSError):
        caller.sendall(NUMBER.pack(pid))
    try:  # readable once the program has ended; Linux
        watched, seconds = [caller, os.pidfd_open(pid)], None
    except (AttributeError, OSError):
        watched, seconds = [caller], 0.02
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if caller in select.select(watched, [], [], seconds)[0]:  # it has ended
            os.kill(pid, signal.SIGKILL)
            os._exit(0)
    with contextlib.suppress(OSError):
        caller.sendall(NUMBER.pack(os.waitstatus_to_exitcode(ended[1])))
    os._exit(0)


if __name__ == "__main__":
    _listen(sys.argv[1])
