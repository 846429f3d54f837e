"""The measured figures of runs: the ledger, and what pages quote from it.

    python -m helpers.course.ledger [--run build] [--pages]

Reads the run's course.json and executed notebooks. Writes data/results/ (one JSON a
lesson, profile and machine, and the pictures), the "Measured" line at the head of each
lesson, and the table of results in README.md. Nothing of these is written by hand.
--pages only brings the pages up to date, with the public address of the course too.
"""

import base64
import json
import os
import platform
import re
import sys
from pathlib import Path

from helpers import Parser, UserError, run_command
from helpers.config import probe_device
from helpers.course import address
from helpers.environment import SHOWN, version
from helpers.files import ROOT, write_json, write_text

RESULTS = ROOT / "data" / "results"
# The cell whose figure is kept as a picture, and the picture's name.
PICTURES = {("03_finetune_with_lora", "after-figure"): "before_after.png"}
BEGIN, END = "<!-- results: make pages -->", "<!-- end of results -->"
RESULTS_TABLE = re.compile(f"{BEGIN}\n.*?{END}", re.DOTALL)
AN = re.compile(r"(8\d*|11|18)-core|NVIDIA|AMD")  # spoken with a vowel at the start
MEASURED = re.compile(r"^\*\*Measured\*\*.*$|^<!-- cost -->$", re.MULTILINE)


def machine() -> dict[str, str]:
    """{"name": short name for files, "device": text, "system": text}."""
    device, cores = probe_device(), os.cpu_count()
    name = f"cpu-{cores}-cores" if device.kind == "cpu" else device.name
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    text = device.name if device.kind == "cuda" else f"{cores}-core CPU"
    return {"name": name, "device": text, "system": platform.system()}


def read_ledger(folder=RESULTS) -> list[dict]:
    """The entries of the ledger, sorted by file name; one dict a JSON file."""
    files = sorted(Path(folder).glob("[0-9][0-9]_*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def store(rows: list[dict], folder=RESULTS) -> None:
    """Writes one ledger file for each row of course.json; an older one is replaced."""
    here, versions = machine(), {name: version(name) for name in SHOWN}
    for row in rows:
        entry = row | {"machine": here, "versions": versions}
        name = f"{row['lesson']}.{row['profile']}.{here['name']}.json"
        write_json(folder / name, entry)


def measured_line(lesson: str, entries: list[dict], url: str = "") -> str:
    """A lesson's line of measured cost, one part a profile and machine.

    url: the public address of the course; with one, the line ends in a link to Colab.
    """
    parts = [
        f"`{e['profile']}` on {_with_article(e['machine']['device'])}: "
        f"{e['seconds']:.0f} s, {e['peak_rss_mib']:,.0f} MiB"
        for e in entries
        if e["lesson"] == lesson
    ]
    line = f"**Measured**: {'; '.join(parts) or 'not yet'}."
    link = address.colab("en", lesson, url)
    return f"{line} [Open in Colab]({link})" if link else line


def _with_article(device: str) -> str:
    return f"{'an' if AN.match(device) else 'a'} {device}"


def results_table(entries: list[dict]) -> str:
    """README's table: a lesson's cost, and exact match before and after."""
    lines = [
        "| lesson | profile, machine | seconds | peak memory | exact match before "
        "| after | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for e in entries:
        f = e["figures"]
        lines.append(
            f"| {e['lesson'][:2]} | `{e['profile']}`, {e['machine']['device']} "
            f"| {e['seconds']:.0f} | {e['peak_rss_mib']:,.0f} MiB "
            f"| {_shown(f, 'base_exact_match', '.1%')} "
            f"| {_shown(f, 'tuned_exact_match', '.1%')} "
            f"| {_shown(f, 'training_seconds', '.0f', ' s')} |"
        )
    return "\n".join(lines)


def _shown(figures: dict, name: str, form: str, unit: str = "") -> str:
    """A figure as text; nothing where the lesson has no such figure."""
    return f"{figures[name]:{form}}{unit}" if name in figures else ""


def quote(entries: list[dict], root=ROOT) -> None:
    """Brings what pages quote up to date: the ledger, and the public address."""
    url = address.declared(root)
    table = f"{BEGIN}\n{results_table(entries)}\n{END}"
    for path in (root / "README.md", root / "CITATION.cff"):
        text = RESULTS_TABLE.sub(lambda found: table, path.read_text(encoding="utf-8"))
        write_text(path, address.stamped(text, url))
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        line = measured_line(path.stem, entries, url)
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                source = MEASURED.sub(lambda found, line=line: line, source)
            elif "setup" in cell["metadata"].get("tags", []):
                source = address.stamped(source, url)
            cell["source"] = source.splitlines(keepends=True)
        write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def keep_pictures(run: Path, folder=RESULTS) -> None:
    """Copies the figures that README shows out of the executed notebooks."""
    for (lesson, cell_id), name in PICTURES.items():
        path = run / "notebooks" / f"{lesson}.ipynb"
        if path.exists():
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            outputs = next(c["outputs"] for c in cells if c["id"] == cell_id)
            found = [o["data"]["image/png"] for o in outputs if "data" in o]
            (folder / name).write_bytes(base64.b64decode(found[-1]))


def keep(run: Path) -> None:
    """Stores a run's figures and pictures. Raises UserError where it is no run."""
    try:
        rows = json.loads((run / "course.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{run / 'course.json'}: {error}; run `make course` first"
        raise UserError(message) from None
    store(rows)
    keep_pictures(run)


def main(argv=None) -> None:
    """Runs the command. Raises UserError."""
    parser = Parser("python -m helpers.course.ledger", description=__doc__)
    parser.add_argument("--run", type=Path, default=ROOT / "build", help="a run")
    parser.add_argument("--pages", action="store_true", help="only quote the ledger")
    options = parser.parse_args(argv)
    if not options.pages:
        keep(options.run)
    quote(read_ledger())


if __name__ == "__main__":
    sys.exit(run_command("ledger", main))
