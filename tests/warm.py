"""Programs that start warm: each in a fork of one process that has paid for imports.

A `Program` is `python -m MODULE ARGUMENTS...` in a process of its own: it has its own
exit code and output. Where a system cannot fork (Windows) each starts cold.
"""

import contextlib
import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from subprocess import CompletedProcess

can_fork = "forkserver" in multiprocessing.get_all_start_methods()
context = multiprocessing.get_context("forkserver" if can_fork else "spawn")
context.set_forkserver_preload(["tests.warm_imports"])


class Program:
    """A running program.

    folder: it gets the files stdout and stderr. most_bytes: what no file may pass, as
        on a full disk. forks: whether it starts processes in its turn; such a program
        does not end with this process.
    """

    def __init__(
        self,
        folder: Path,
        module: str,
        *arguments,
        most_bytes: int = 0,
        forks: bool = False,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.files = folder / "stdout", folder / "stderr"
        for path in self.files:
            path.write_text("")
        call = (module, [str(a) for a in arguments], self.files, most_bytes)
        self.process = context.Process(target=_become, args=call, daemon=not forks)
        self.process.start()

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.exitcode is None

    def send(self, number: int) -> None:
        """Sends a signal, in vain where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def wait(self) -> CompletedProcess:
        """Its exit code (a signal's number, negative) and output, once it has ended."""
        self.process.join()
        said = [path.read_text(encoding="utf-8") for path in self.files]
        return CompletedProcess(self.process.name, self.process.exitcode, *said)


def _become(module: str, arguments: list[str], files: tuple, most_bytes: int) -> None:
    """The program, from here to its end."""
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    if most_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
