"""Says what the newest packages break: the text of the weekly issue DRIFT.

    python .github/drift.py --unpinned       requirements.txt without its versions
    python .github/drift.py [--run build]    after a run: lessons that failed, versions

Needs the standard library alone: it has to speak where an installation failed.
"""

import argparse
import json
import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def unpinned(requirements: str) -> str:
    """The packages of a requirements file, one a line, without versions."""
    return "\n".join(name for name, _ in PIN.findall(requirements))


def failures(run: Path, lessons: list[str]) -> dict[str, tuple[str, str]]:
    """{lesson: (cell or "", error)} of those that a run did not finish.

    run: folder of `helpers.course`; lessons: the names that should have run.
    """
    table = run / "course.json"
    rows = json.loads(table.read_text(encoding="utf-8")) if table.exists() else []
    done = {row["lesson"] for row in rows}
    return {name: last_error(run, name) for name in lessons if name not in done}


def last_error(run: Path, lesson: str) -> tuple[str, str]:
    """(cell id, "Name: message") of a failed lesson; ("", "did not run")."""
    path = run / "failed" / f"{lesson}.ipynb"
    found = "", "did not run"
    cells = json.loads(path.read_text("utf-8"))["cells"] if path.exists() else []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                text = COLOURS.sub("", f"{output['ename']}: {output['evalue']}")
                found = cell["id"], text
    return found


def moved(requirements: str) -> list[tuple[str, str, str]]:
    """[(package, pin, version here)] of those that have another version."""
    rows = [(name, pin, _version(name)) for name, pin in PIN.findall(requirements)]
    return [row for row in rows if row[2].split("+")[0] != row[1]]


def report(failed: dict, versions: list[tuple]) -> str:
    """The issue's text in Markdown. Errors stand in code, so nothing is live."""
    lines = ["Lessons that do not run with the newest packages:", ""]
    for lesson, (cell, error) in failed.items():
        lines += [f"- {lesson}" + (f", cell `{cell}`" if cell else ""), ""]
        # Indented code: a text of its own cannot end it, as it could end a fence.
        lines += [f"      {line}" for line in error.splitlines()[:20]] + [""]
    lines = lines if failed else ["Every lesson runs with the newest packages.", ""]
    lines += ["| package | pinned | here |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in versions]) + "\n"


def _version(name: str) -> str:
    """The installed version of a package, "not installed" for none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def main(argv=None) -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser("drift.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--unpinned", action="store_true", help="print the packages")
    parser.add_argument("--run", type=Path, default=ROOT / "build", help="a run")
    args = parser.parse_args(argv)
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    if args.unpinned:
        print(unpinned(requirements))
        return
    lessons = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    print(report(failures(args.run, lessons), moved(requirements)), end="")


if __name__ == "__main__":
    main()
