"""What a run of the course tells: progress, failures, the closing table."""

import sys
from pathlib import Path

from tqdm import tqdm

from helpers.course.figures import figure_lines


def table(rows: list[dict]) -> str:
    """The closing table: lesson, seconds, peak memory, then its figures."""
    width = max([len("lesson"), *(len(row["lesson"]) for row in rows)])
    lines = [f"{'lesson':<{width}}  seconds  peak MiB  figures"]
    for row in rows:
        head = f"{row['lesson']:<{width}}  {row['seconds']:7.1f}"
        head += f"  {row['peak_rss_mib']:8.0f}"
        figures = figure_lines(row["figures"]) or ["-"]
        lines.append(f"{head}  {figures[0]}")
        lines += [" " * (len(head) + 2) + line for line in figures[1:]]
    return "\n".join(lines)


def failure_text(lesson: str, event: dict, target: Path, log: Path) -> str:
    """Where a lesson failed, with what error, and what it printed last."""
    if event["event"] == "lost":
        what = f"its process ended with code {event['code']} (out of memory?)"
        output = log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
    else:
        cell = event["cell"] or "of injected parameters"
        what = f"cell {cell} of {event['cells']}: {event['error']}: {event['message']}"
        output = event["output"]
    where = [f"  see {target}"] if target.exists() else []
    lines = [f"FAILED {lesson}.ipynb, {what}", *(f"  | {line}" for line in output)]
    return "\n".join(lines + where)


class Progress(tqdm):
    """A bar over the cells of all lessons, on a terminal; a line as each ends."""

    def __init__(self, notebooks: list[Path]):
        import nbformat

        # One more cell in each: the injected parameters.
        self.cells = {
            path.stem: len(nbformat.read(path, as_version=4).cells) + 1
            for path in notebooks
        }
        self.seen = dict.fromkeys(self.cells, 0)
        total = sum(self.cells.values())
        super().__init__(total=total, unit="cell", disable=None, dynamic_ncols=True)

    def cell(self, lesson: str, index: int) -> None:
        """Shows that the cell with this index (from 0) starts."""
        self.set_description(f"{lesson} cell {index + 1}/{self.cells[lesson]}")
        self.update(index - self.seen[lesson])
        self.seen[lesson] = index

    def end(self, lesson: str, text: str) -> None:
        """Counts a lesson as ended and prints a line (or several) about it."""
        self.update(self.cells[lesson] - self.seen[lesson])
        self.write(text, file=sys.stderr)
