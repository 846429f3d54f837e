"""Run the notebooks of the course headlessly, and keep the figures they measure.

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
from pathlib import Path

from helpers.course.figures import read_figures, record

ROOT = Path(__file__).resolve().parent.parent
__all__ = ["main", "read_figures", "record"]


class CourseError(ValueError):
    """The request cannot be carried out; the message is one line for the reader."""


def choose_lessons(names, folder):
    """Return the notebooks that `names` ask for, in order; all for no name.

    A name is a number (`3`, `03`) or how the file name begins. Raises CourseError
    for a name that fits no notebook.
    """
    lessons = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    chosen = set()
    for name in names:
        start = f"{int(name):02}_" if name.isdecimal() else Path(name).stem
        found = [path for path in lessons if path.stem.startswith(start)]
        if not found:
            there = ", ".join(path.stem for path in lessons) or "none"
            raise CourseError(f"no lesson {name!r} in {folder}; there are: {there}")
        chosen.update(found)
    if not lessons:
        raise CourseError(f"no notebooks in {folder}")
    return sorted(chosen) if names else lessons


def check_parameters(notebook, parameters):
    """Raise CourseError unless the notebook's parameters cell sets each name.

    Papermill itself only warns about an unknown name, and overwrites the value
    with the default where no cell is tagged: both would run the wrong thing.
    """
    import nbformat
    import papermill

    try:
        content = nbformat.read(notebook, as_version=4)
    except Exception as error:  # JSON, encoding and schema errors alike
        raise CourseError(f"{notebook.name}: not a notebook ({error!r:.80})") from error
    content.metadata.setdefault("kernelspec", {}).update(name="python3")
    content.metadata["language_info"] = {"name": "python"}
    known = sorted(papermill.inspect_notebook(content))
    if not known:
        raise CourseError(f"{notebook.name}: no cell tagged 'parameters' sets any")
    for name in parameters:
        if name not in known:
            there = ", ".join(known)
            raise CourseError(
                f"{notebook.name}: no parameter {name!r}; there are: {there}"
            )


def parse(argv):
    """Return the checked request: (arguments, notebooks, parameters).

    Raises CourseError.
    """

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise CourseError(message)

    parser = Parser(
        "python -m helpers.course",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("lessons", nargs="*", metavar="LESSON", help="a number or name; default all")
    add("--profile", default="tiny", help="one of helpers/profiles.yaml (tiny)")
    add("--jobs", type=int, help="lessons at a time (2 on tiny, else 1)")
    add("--output", type=Path, default=ROOT / "build", help="folder (build)")
    add("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    add("--notebooks", type=Path, default=ROOT / "notebooks", help=argparse.SUPPRESS)
    add("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.output = args.output.resolve()
    return args, *check_request(args)


def check_request(args):
    """Return (notebooks, parameters) of parsed arguments; raise CourseError."""
    from helpers import config

    if args.profile not in config.profile_names():
        there = ", ".join(config.profile_names())
        raise CourseError(f"no profile {args.profile!r}; there are: {there}")
    if args.jobs is None:
        args.jobs = min(2, os.cpu_count() or 1) if args.profile == "tiny" else 1
    if args.jobs < 1:
        raise CourseError(f"--jobs must be 1 or more, got {args.jobs}")
    parameters = {name: _value(text) for name, text in args.p}
    if "PROFILE" in parameters:
        raise CourseError("the profile is chosen with --profile, not with -p")
    parameters["PROFILE"] = args.profile
    notebooks = choose_lessons(args.lessons, args.notebooks.resolve())
    for notebook in notebooks:
        check_parameters(notebook, parameters)
    return notebooks, parameters


def _value(text):
    """Read a parameter as a Python literal, or else as the text it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
