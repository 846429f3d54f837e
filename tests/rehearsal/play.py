"""Executes lessons in one process, as on a profile's card, and reports what happened.

    python -m tests.rehearsal.play gpu-16gb [03 04] [--work FOLDER] [--report FILE]

The report is one JSON: {lesson: {"error", "claims", "sides", "loads", "faults",
"seconds"}}: the cell that failed and why; assertions that did not hold, which do not
end a lesson here; the sides taken of each branch; the copies held at each load; CPU
seconds by cell.
"""

import argparse
import ast
import gc
import json
import os
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path

from helpers.files import ROOT
from tests.rehearsal import branches, stage

# What is asked of every lesson that has such a parameter: few rows.
PARAMETERS = {
    "TEST_ROWS": 16,
    "CONTROL_ROWS": 16,
    "PROMPT_ROWS": 8,
    "DRIFT_ROWS": 8,
    "HELD_OUT": 16,
    "STEPS": 12,
    "REQUESTS": 8,
}
# Numbers of work that are no parameters: (lesson, cell): (as it stands there, here).
CUTS = {
    ("05_evaluate_the_result", "full-train"): ("4, 100\n", "4, 20\n"),
    ("06_run_inference_on_gpu", "cache"): ("NEW = 96", "NEW = 24"),
    ("16_find_the_bottleneck", "machine"): ("4096 if", "1024 if"),
}


def lessons(numbers: list[str], folder: Path = ROOT / "notebooks") -> list[Path]:
    """The notebooks of those numbers; for none, all."""
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if not numbers or path.name[:2] in numbers]


def play(notebook: Path, profile: str, shell, copies, work: Path) -> dict:
    """What happened in a lesson; its namespace and models are gone afterwards."""
    copies.__init__(notebook.stem)
    sides, claims = defaultdict(set), []

    def branch(key: str, value):
        sides[key].add(bool(value))
        return value

    def claim(cell: str, text: str) -> None:
        claims.append([cell, text])

    shell.reset(new_session=True)
    shell.user_ns |= {branches.BRANCH: branch, branches.CLAIM: claim}
    error = execute(notebook, {"PROFILE": profile}, shell, copies, work)
    shell.reset(new_session=True)
    gc.collect()
    return {
        "error": error,
        "claims": claims,
        "sides": {key: sorted(taken) for key, taken in sides.items()},
        "loads": copies.loads,
        "faults": copies.faults,
        "seconds": copies.seconds,
    }


def execute(notebook: Path, given: dict, shell, copies, work: Path) -> str | None:
    """Runs the cells one after the other; where one fails, that one and why."""
    import matplotlib.pyplot as plt

    os.chdir(work)
    for cell, tags, source in branches.code_cells(notebook):
        copies.cell = cell
        if cut := CUTS.get((notebook.stem, cell)):
            assert cut[0] in source, f"{cell} has no {cut[0]!r} any more"
            source = source.replace(*cut)
        if "parameters" in tags:
            source = with_parameters(source, PARAMETERS | given)
        shell.ast_transformers[:] = [branches.Watch(cell)]
        start = time.process_time()
        failure = shell.run_cell(source)
        copies.seconds[cell] = round(time.process_time() - start, 2)
        plt.close("all")
        if error := failure.error_before_exec or failure.error_in_exec:
            lines = traceback.format_exception(error)
            return f"{cell}: {''.join(lines)[-2500:]}"
    return None


def with_parameters(source: str, given: dict) -> str:
    """The parameters cell, setting those of the given ones that it knows."""
    known = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
    asked = {name: value for name, value in given.items() if name in known}
    return "\n".join([source, *(f"{n} = {value!r}" for n, value in asked.items())])


def main(argv: list[str] | None = None) -> None:
    """Plays the lessons asked for and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", choices=["tiny", *stage.DEVICES])
    parser.add_argument("lessons", nargs="*")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        copies, report, shell = stage.set_up(args.profile, work), {}, new_shell()
        for notebook in lessons(args.lessons, args.notebooks):
            report[notebook.stem] = play(notebook, args.profile, shell, copies, work)
            stage.tear_down(work)
            if args.report:
                text = json.dumps(report, indent=1)
                args.report.write_text(text, encoding="utf-8")
        print(json.dumps(report, indent=1))


def new_shell():
    """IPython without a kernel, a history on disk or a reader."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    return InteractiveShell.instance(config=settings)


if __name__ == "__main__":
    main()
