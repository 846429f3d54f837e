"""Runs the notebooks of the course headlessly, and keeps the figures they measure.

    python -m helpers.course                      every lesson, profile tiny
    python -m helpers.course 03 04 --jobs 1       two lessons, one after the other
    python -m helpers.course 00 -p TRAIN_ROWS 64  another value of a parameter

Executed notebooks go to build/notebooks, those that failed to build/failed, the
table of the run to build/course.json. Exit codes: 0 all lessons ran, 1 a lesson
failed, 2 the request was wrong, 130 interrupted.
"""

import argparse
import ast
import os
import signal
import sys
from pathlib import Path

import psutil

from helpers import Parser, UserError, config, run_command
from helpers.course import runner
from helpers.course.report import table
from helpers.files import ROOT
from helpers.models import fetch_small_model


def main(argv=None) -> int:
    """Runs the lessons asked for; the exit code. Raises UserError."""
    args = parse(argv)
    if args.profile == "small":
        fetch_small_model()
    # SIGINT too: a shell leaves it ignored in a background job.
    runner.on_signals(signal.default_int_handler)
    try:
        rows = runner.run(args)
    except KeyboardInterrupt:
        print("course: interrupted, every lesson was stopped", file=sys.stderr)
        return 130
    if rows:
        print(table(rows))
    return 0 if len(rows) == len(args.notebooks) else 1


def choose_lessons(names: list[str], folder: Path) -> list[Path]:
    """The notebooks that `names` ask for, in order; all for no name.

    A name is a number (`3`, `03`) or how the file name begins. Raises UserError for a
    name that fits no notebook.
    """
    lessons = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    chosen = set()
    for name in names:
        start = f"{int(name):02}_" if name.isdecimal() else Path(name).stem
        found = [path for path in lessons if path.stem.startswith(start)]
        if not found:
            there = ", ".join(path.stem for path in lessons) or "none"
            raise UserError(f"no lesson {name!r} in {folder}; there are: {there}")
        chosen.update(found)
    if not lessons:
        raise UserError(f"no notebooks in {folder}")
    return sorted(chosen) if names else lessons


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Raises UserError unless the notebook's parameters cell sets each name.

    Papermill itself only warns about an unknown name, and overwrites the value
    with the default where no cell is tagged: both would run the wrong thing.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # not needed: worker.execute
    import nbformat
    import papermill

    try:
        content = nbformat.read(notebook, as_version=4)
    except Exception as error:  # JSON, encoding and schema errors alike
        raise UserError(f"{notebook.name}: not a notebook ({error!r:.80})") from error
    content.metadata.setdefault("kernelspec", {}).update(name="python3")
    content.metadata["language_info"] = {"name": "python"}
    known = sorted(papermill.inspect_notebook(content))
    if not known:
        raise UserError(f"{notebook.name}: no cell tagged 'parameters' sets any")
    if unknown := [name for name in parameters if name not in known]:
        what = f"no parameter {unknown[0]!r}; there are: {', '.join(known)}"
        raise UserError(f"{notebook.name}: {what}")


def parse(argv) -> argparse.Namespace:
    """The checked request. Raises UserError.

    profile, jobs, output, end_with_parent; notebooks: the paths to run; parameters:
    {name: value}, PROFILE too.
    """
    parser = Parser("python -m helpers.course", description=__doc__)
    add = parser.add_argument
    add("lessons", nargs="*", metavar="LESSON", help="a number or name; default all")
    add("--profile", default="tiny", help="one of helpers/profiles.yaml (tiny)")
    add("--jobs", type=int, help="lessons at a time (2 without a GPU, else 1)")
    add("--output", type=Path, default=ROOT / "build", help="folder (build)")
    add("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    add("--notebooks", type=Path, default=ROOT / "notebooks", help=argparse.SUPPRESS)
    add("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.profile not in config.profile_names():
        there = ", ".join(config.profile_names())
        raise UserError(f"no profile {args.profile!r}; there are: {there}")
    if args.jobs is None:
        args.jobs = lessons_at_a_time(args.profile)
    if args.jobs < 1:
        raise UserError(f"--jobs must be 1 or more, got {args.jobs}")
    args.parameters = {name: _value(text) for name, text in args.p}
    if "PROFILE" in args.parameters:
        raise UserError("the profile is chosen with --profile, not with -p")
    args.parameters["PROFILE"] = args.profile
    args.output = args.output.resolve()
    args.notebooks = choose_lessons(args.lessons, args.notebooks.resolve())
    for notebook in args.notebooks:
        check_parameters(notebook, args.parameters)
    return args


def lessons_at_a_time(profile: str) -> int:
    """Two where cores and memory allow it and no lesson needs a GPU of its own."""
    needed = {"tiny": 0, "small": 16 * 2**30}.get(profile)  # free bytes
    if needed is None or psutil.virtual_memory().available < needed:
        return 1
    return min(2, os.cpu_count() or 1)


def _value(text: str):
    """A parameter read as a Python literal, or else the text it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    sys.exit(run_command("course", main))
