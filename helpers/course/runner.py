"""The run behind `python -m helpers.course`: worker processes, progress, results.

Each lesson is executed by a worker of its own (`helpers.course.worker`), so memory is
measured by lesson and a cancelled lesson leaves nothing behind.
"""

import json
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
from ipykernel.kernelspec import write_kernel_spec

from helpers import HEADLESS
from helpers.course.figures import read_figures
from helpers.course.ledger import usual_seconds
from helpers.course.report import Progress, failure_text
from helpers.course.worker import end_processes
from helpers.environment import KEEP_MEMORY, parent_ends
from helpers.files import ROOT, write_json
from helpers.language import VARIABLE

KERNEL = "lora-course"
READERS = ("MPLBACKEND", VARIABLE, "JPY_SESSION_NAME")  # their figures, their language
TRAINS = "00_start_here"  # the adapter that other lessons start from
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def run(args) -> list[dict]:
    """Executes notebooks and writes build/course.json; its rows.

    args: the request, as the command's `parse` gives it. Every process of the run has
    ended when this returns or raises; KeyboardInterrupt passes through.
    """
    work = prepare(args.output, args.notebooks)
    try:
        rows = run_all(args, work)
    except KeyboardInterrupt:
        on_signals(signal.SIG_IGN)  # a second Ctrl-C must not cut the end short
        raise
    finally:
        end_processes(f"{work}{os.sep}")
        shutil.rmtree(work, ignore_errors=True)
    write_json(args.output / "course.json", rows, indent=2)
    return rows


def on_signals(handler) -> None:
    """Sets the handler of every signal that asks the run to end."""
    for name in SIGNALS:
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), handler)


def prepare(output: Path, notebooks: list[Path]) -> Path:
    """Clears earlier results of these lessons; this run's working folder."""
    for folder in ("notebooks", "failed"):
        (output / folder).mkdir(parents=True, exist_ok=True)
        for notebook in notebooks:
            (output / folder / notebook.name).unlink(missing_ok=True)
    (output / "course.json").unlink(missing_ok=True)
    for old in output.glob(".run-*"):
        # What a killed run left; a run of now keeps its folder. In a container the
        # killed one may have had the id of this one.
        pid = int(old.name.removeprefix(".run-"))
        if pid == os.getpid() or not psutil.pid_exists(pid):
            shutil.rmtree(old, ignore_errors=True)
    work = output / f".run-{os.getpid()}"
    # Of this very Python: the reader may have none, or a python3 of another place.
    quiet = ["--IPKernelApp.log_level=40"]
    write_kernel_spec(work / "jupyter" / "kernels" / KERNEL, extra_arguments=quiet)
    return work


def mark(work: Path, lesson: str) -> str:
    """What every process of this run's lesson carries in its environment."""
    return f"{work}{os.sep}{lesson}{os.sep}"


def threads(args) -> int:
    """Those of a lesson: as many as cores that no other lesson takes.

    One on `tiny`, whose figures on the pages are those of one thread.
    """
    cores = len(psutil.Process().cpu_affinity()) if psutil.LINUX else os.cpu_count()
    at_once = min(args.jobs, len(args.notebooks))
    return 1 if args.profile == "tiny" else max(1, (cores or 1) // at_once)


def environment(
    profile: str, work: Path, lesson: str, threads: int = 1
) -> dict[str, str]:
    """The environment of a lesson's worker and kernel."""
    env = {name: said for name, said in os.environ.items() if name not in READERS}
    defaults = {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONHASHSEED": "0",
        **KEEP_MEMORY,
    }
    if profile == "tiny":
        defaults["HF_HUB_OFFLINE"] = "1"
    own = {
        HEADLESS: mark(work, lesson),
        "JUPYTER_PATH": str(work / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(work / lesson / "runtime"),
        "IPYTHONDIR": str(work / lesson / "ipython"),
    }
    return defaults | env | own


def start_worker(notebook: Path, args, work: Path, events: queue.Queue) -> None:
    """Starts a lesson; its reports arrive in the queue `events` as (name, dict)."""
    lesson = notebook.stem
    folder = work / lesson
    folder.mkdir()
    task = {
        "notebook": str(notebook),
        "output": str(folder / notebook.name),
        "parameters": args.parameters,
        "kernel": KERNEL,
        "parent": os.getpid(),
    }
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers.course.worker", json.dumps(task)],
            cwd=ROOT,
            env=environment(args.profile, work, lesson, threads(args)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches this process, which ends them
        )
    threading.Thread(target=listen, args=(lesson, process, events), daemon=True).start()


def listen(lesson: str, process: subprocess.Popen, events: queue.Queue) -> None:
    """Passes on a worker's reports, and that it ended if it did so without one."""
    reported = False
    for line in process.stdout:
        event = json.loads(line)
        reported = event["event"] in ("done", "failed")
        events.put((lesson, event))
    code = process.wait()
    if not reported:
        events.put((lesson, {"event": "lost", "code": code}))


def run_all(args, work: Path) -> list[dict]:
    """Keeps `args.jobs` workers busy until every notebook has ended; the rows.

    Several begin with the longest: begun last, it would run alone at the end.
    """
    waiting, running, rows = list(args.notebooks), {}, []
    if args.jobs > 1:
        known = usual_seconds(args.profile)
        waiting.sort(key=lambda path: -known.get(path.stem, math.inf))
    events, orphaned = queue.Queue(), parent_ends(os.getppid())
    with Progress(args.notebooks) as progress:
        while waiting or running:
            while waiting and len(running) < args.jobs:
                notebook = choose(waiting, running, args.profile)
                waiting.remove(notebook)
                running[notebook.stem] = notebook
                start_worker(notebook, args, work, events)
            try:
                lesson, event = events.get(timeout=0.2)
            except queue.Empty:
                if args.end_with_parent and orphaned():
                    raise KeyboardInterrupt from None
                progress.refresh()  # a clock that moves during a long cell
                continue
            if event["event"] == "cell":
                progress.cell(lesson, event["index"])
                continue
            row = finish(running.pop(lesson), event, args, work, progress)
            rows += [row] if row else []
    return sorted(rows, key=lambda row: row["lesson"])


def choose(waiting: list[Path], running: dict, profile: str) -> Path:
    """The notebook to begin next: the first that need not wait for another one.

    Lesson 00 trains what later ones start from (`finetune.keep_adapter`), but where an
    adapter ships with the course; begun too soon, they would train it once more.
    """
    if profile == "tiny":
        return waiting[0]
    first = [path for path in waiting if path.stem == TRAINS]
    if not first and TRAINS in running:
        texts = {path: path.read_text(encoding="utf-8") for path in waiting}
        first = [path for path in waiting if "adapter_folder(" not in texts[path]]
    return (first or waiting)[0]


def finish(notebook: Path, event: dict, args, work: Path, progress) -> dict | None:
    """Moves an executed notebook to its place; its row, None where it failed."""
    lesson, ran = notebook.stem, work / notebook.stem / notebook.name
    done = event["event"] == "done"
    target = args.output / ("notebooks" if done else "failed") / notebook.name
    if event["event"] == "lost":
        end_processes(mark(work, lesson))  # its kernel may still run
    if ran.exists():
        os.replace(ran, target)
    if not done:
        log = work / lesson / "log.txt"
        progress.end(lesson, failure_text(lesson, event, target, log))
        return None
    progress.end(lesson, f"{lesson}: {event['seconds']:.1f} s")
    row = {
        "lesson": lesson,
        "profile": args.profile,
        "seconds": round(event["seconds"], 2),
        "peak_rss_mib": round(event["peak_rss_mib"], 1),
        "figures": read_figures(target),
    }
    changed = {k: v for k, v in args.parameters.items() if k != "PROFILE"}
    return row | ({"parameters": changed} if changed else {})
