"""One lesson in one process: started by `helpers.course.runner`, never by hand.

The worker executes a notebook with papermill and reports on its standard output,
one JSON object a line: `cell` as each cell starts, then `done` or `failed`. Every
process of a lesson inherits the mark `HEADLESS` in its environment; that is how all of
them, also those a notebook started itself, are found again when they must end.
"""

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from helpers import HEADLESS
from helpers.config import MIB
from helpers.environment import parent_ends

SAMPLE_SECONDS, SHARED_SECONDS = 0.2, 1.0
OUTPUT_LINES = 10


def marked_processes(mark: str) -> list[psutil.Process]:
    """The processes whose mark starts with this one, without the caller's."""
    found = []
    for process in psutil.process_iter():
        # Another user's process, or one that has just ended, cannot be read.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid():
                if process.environ().get(HEADLESS, "").startswith(mark):
                    found.append(process)
    return found


def end_processes(mark: str) -> None:
    """Kills every process marked so; looks again until none is left."""
    for _ in range(20):
        left = marked_processes(mark)
        if not left:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)


class Watch(threading.Thread):
    """Measures the peak memory of this worker's kernel; ends with the runner.

    `peak_rss_mib` is the highest sum seen of the resident memory of all
    descendants. Where there are several, a page that they share counts once (Linux:
    the sum of PSS, which takes long to ask for). A runner that was killed cannot stop
    its workers, so each worker looks for itself whether its parent is still the one
    that started it.
    """

    def __init__(self, parent: int, mark: str):
        super().__init__(daemon=True)
        self.orphaned, self.mark, self.peak_rss_mib = parent_ends(parent), mark, 0.0
        self.shared_from = 0.0  # time.monotonic() of the next look at shared pages

    def run(self) -> None:
        while True:
            if self.orphaned():
                end_processes(self.mark)
                os._exit(1)
            self.look(psutil.Process())
            time.sleep(SAMPLE_SECONDS)

    def look(self, process: psutil.Process) -> None:
        """Notes what the descendants of a process hold, if it is the most so far."""
        found = _descendants(process)
        held = _sum_mib(found, lambda p: p.memory_info().rss)
        if held <= self.peak_rss_mib:
            return
        if psutil.LINUX and len(found) > 1:
            if time.monotonic() < self.shared_from:
                return
            held = _sum_mib(found, lambda p: p.memory_full_info().pss)
            self.shared_from = time.monotonic() + SHARED_SECONDS
        self.peak_rss_mib = max(self.peak_rss_mib, held)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    """The processes below one; a Linux names its children, else all are looked at."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return process.children(recursive=True)
    found, waiting = [], [process.pid]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(psutil.Error, OSError):  # it may have just ended
            found.append(psutil.Process(pid))
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, file.read_text().split())
    return found[1:]


def _sum_mib(processes: list[psutil.Process], size) -> float:
    """What processes hold together; one that is gone holds nothing."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += size(process)
    return total / MIB


def last_output(cell) -> list[str]:
    """The last printed lines of a cell, without colours."""
    streams = [o.text for o in cell.get("outputs", []) if o.output_type == "stream"]
    # A progress bar rewrites its line: only what stood there last is of use.
    text = re.sub(r"[^\n]*\r(?!\n)", "", "".join(streams))
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return text.rstrip().splitlines()[-OUTPUT_LINES:]


def describe_failure(error, source: str, executed: str, cell_id: str | None) -> dict:
    """Which cell failed, why, and what it printed last.

    source, executed: paths. cell: counts the cells of the source from 1; None for one
    that only the run has (injected parameters).
    """
    import nbformat

    ids = [cell.get("id") for cell in nbformat.read(source, as_version=4).cells]
    output = []
    if Path(executed).exists():
        cells = nbformat.read(executed, as_version=4).cells
        output = [last_output(c) for c in cells if c.get("id") == cell_id]
    return {
        "cell": ids.index(cell_id) + 1 if cell_id in ids else None,
        "cells": len(ids),
        "error": getattr(error, "ename", type(error).__name__),
        "message": str(getattr(error, "evalue", error)).strip(),
        "output": output[0] if output else [],
    }


def execute(task: dict, emit: Callable[..., None]) -> dict | None:
    """Runs the notebook of `task`; the description of its failure, None for none."""
    # A grammar of web addresses, which takes a second to build, for jsonschema: it does
    # without, and papermill needs neither.
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill

    current = {"id": None}

    def cell_starts(cell, cell_index):
        current["id"] = cell.get("id")
        emit(event="cell", index=cell_index)

    try:
        papermill.execute_notebook(
            task["notebook"],
            task["output"],
            parameters=task["parameters"],
            kernel_name=task["kernel"],
            language="python",
            progress_bar=False,
            cwd=str(Path(task["notebook"]).parent),
            on_cell_start=cell_starts,
        )
    except Exception as error:  # a lesson may fail in any way, and each is reported
        return describe_failure(error, task["notebook"], task["output"], current["id"])
    return None


def main(task: dict) -> None:
    """Runs one lesson and reports it. task: what `runner.start_worker` sends."""
    # The kernel inherits file descriptors 1 and 2; reports go where it cannot write.
    reports = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def emit(**event):
        reports.write(json.dumps(event) + "\n")

    mark = os.environ[HEADLESS]
    watch = Watch(task["parent"], mark)
    watch.start()
    start = time.perf_counter()
    failure = execute(task, emit)
    seconds = time.perf_counter() - start
    end_processes(mark)  # what the notebook started and did not stop, a server say
    measured = {"seconds": seconds, "peak_rss_mib": watch.peak_rss_mib}
    emit(event="failed" if failure else "done", **measured, **(failure or {}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
