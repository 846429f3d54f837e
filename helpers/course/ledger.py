"""The measured figures of runs: the ledger, and what pages quote from it.

    python -m helpers.course.ledger [--run build] [--pages]

Reads the run's course.json and executed notebooks. Writes data/results/ (one JSON a
lesson, profile and machine, and the pictures), the "Measured" line at the head of each
lesson, and the table of results in README.md. Nothing of these is written by hand.
--pages only brings the pages up to date, with the public address of the course too,
and with what is predicted for the profiles of GPUs (predicted.json, cards.json).
"""

import base64
import json
import os
import platform
import re
import sys
from functools import partial
from math import ceil
from pathlib import Path

from helpers import Parser, UserError, run_command
from helpers.config import GIB, probe_device
from helpers.course import address
from helpers.course.wording import ENGLISH, Wording
from helpers.environment import versions
from helpers.files import ROOT, whole, write_json, write_text

RESULTS = ROOT / "data" / "results"
# The cell whose figure is kept as a picture, and the picture's name: of a real model.
PICTURES = {("03_finetune_with_lora", "after-figure"): "before_after.png"}
PICTURED = "small"
BEGIN, END = "<!-- results: make pages -->", "<!-- end of results -->"
PREDICTED, BY_CARD = "predicted.json", "cards.json"
RESULTS_TABLE = re.compile(f"{BEGIN}\n.*?{END}", re.DOTALL)
HEADS = ("lesson", "profile, machine", "seconds", "peak memory")
HEADS += ("exact match before", "after", "training")
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
    """The entries of the ledger, one dict a JSON file, sorted by file name.

    Behind them the predictions, {lesson, profile, card, minutes, gib, moment}, for
    what has not been measured.
    """
    files = sorted(Path(folder).glob("[0-9][0-9]_*.json"))
    entries = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    measured = {(e["lesson"], e["profile"]) for e in entries}
    file = Path(folder) / PREDICTED
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return entries + [r for r in rows if (r["lesson"], r["profile"]) not in measured]


def usual_seconds(profile: str) -> dict[str, float]:
    """{lesson: seconds} that the ledger has measured on a profile."""
    mine = [e for e in read_ledger() if e["profile"] == profile and "seconds" in e]
    return {entry["lesson"]: entry["seconds"] for entry in mine}


def predict(folder=RESULTS) -> None:
    """Writes what lessons are predicted to take on each card, and the costs by card."""
    from helpers.course.cards import card_rows
    from helpers.course.lessons import CARDS, lesson_minutes, lesson_peaks

    rows = []
    for profile, card in CARDS.items():
        minutes, peaks = lesson_minutes(profile), lesson_peaks(profile)
        for lesson, peak in peaks.items():
            row = {"lesson": lesson, "profile": profile, "card": card.name}
            row |= {"minutes": round(minutes[lesson], 1), "moment": peak.name}
            rows.append(row | {"gib": round(peak.bytes / GIB, 1)})
    for name, found in {PREDICTED: rows, BY_CARD: card_rows(RESULTS)}.items():
        file = folder / name
        # Equal ones keep their time: a page asks by it what is newer than its outputs.
        if not file.exists() or json.loads(file.read_text(encoding="utf-8")) != found:
            write_json(file, found)


def store(rows: list[dict], folder=RESULTS) -> None:
    """Writes one ledger file for each row of course.json; an older one is replaced."""
    here, now = machine(), versions()
    for row in rows:
        entry = row | {"machine": here, "versions": now}
        name = f"{row['lesson']}.{row['profile']}.{here['name']}.json"
        write_json(folder / name, entry)


def measured_line(
    lesson: str, entries: list[dict], url: str = "", words: Wording = ENGLISH
) -> str:
    """A lesson's line of cost, measured and predicted, one part a profile and machine.

    url: the public address of the course; with one, the line ends in a link to Colab.
    """
    own = [e for e in entries if e["lesson"] == lesson]
    measured = [_measured(e, words) for e in own if "seconds" in e]
    predicted = [_predicted(e, words) for e in own if "minutes" in e]
    line = f"{_bold('Measured', words)}: {'; '.join(measured) or words.say('not yet')}."
    if predicted:
        line += f" {_bold('Predicted, not measured', words)}: {'; '.join(predicted)}."
    link = address.colab(words.language, lesson, url)
    return f"{line} [{words.say('Open in Colab')}]({link})" if link else line


def _measured(e: dict, words: Wording) -> str:
    time = f"{words.number(e['seconds'], '.0f')} s"
    memory = f"{words.number(e['peak_rss_mib'], ',.0f')} MiB"
    device = e["machine"]["device"]
    where = f"{words.say('on an' if AN.match(device) else 'on a')} {words.say(device)}"
    return f"`{e['profile']}` {where}: {time}, {memory}"


def _predicted(e: dict, words: Wording) -> str:
    """Rounded up: it is no promise to the minute."""
    time = f"{words.number(ceil(e['minutes']), '.0f')} min"
    memory = f"{words.number(ceil(e['gib']), '.0f')} GiB"
    return f"`{e['profile']}` ({e['card']}) {time}, {memory}"


def _bold(phrase: str, words: Wording) -> str:
    text = words.say(phrase)
    # A space, no-break or not, before ** would keep it from ending the bold text.
    bold = text.rstrip()
    return f"**{bold}**{text[len(bold) :]}"


def results_block(entries: list[dict], words: Wording = ENGLISH) -> str:
    """README's table, its marks around it: cost, exact match before and after."""
    rows = [map(words.say, HEADS)]
    for e in entries:
        if "seconds" not in e:
            continue
        shown = partial(_shown, e["figures"], words)
        cost = [words.number(e["seconds"], ".0f")]
        cost += [f"{words.number(e['peak_rss_mib'], ',.0f')} MiB"]
        place = f"`{e['profile']}`, {words.say(e['machine']['device'])}"
        match = [shown("base_exact_match", ".1%"), shown("tuned_exact_match", ".1%")]
        time = shown("training_seconds", ".0f", " s")
        rows.append([e["lesson"][:2], place, *cost, *match, time])
    head, *lines = (f"| {' | '.join(row)} |" for row in rows)
    rule = f"|{'---|' * len(HEADS)}"
    return "\n".join([BEGIN, head, rule, *lines, END])


def _shown(figures: dict, words: Wording, name: str, form: str, unit: str = "") -> str:
    """A figure as text; nothing where the lesson has no such figure."""
    return f"{words.number(figures[name], form)}{unit}" if name in figures else ""


def quote(entries: list[dict], root=ROOT) -> None:
    """Brings what pages quote up to date: the ledger, and the public address."""
    url = address.declared(root)
    table = results_block(entries)
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


def keep_pictures(run: Path, rows: list[dict], folder=RESULTS) -> None:
    """Copies the figures that README shows out of the executed notebooks.

    rows: the run's; another one may have left notebooks of another model there.
    """
    ran = {row["lesson"] for row in rows if row["profile"] == PICTURED}
    for (lesson, cell_id), name in PICTURES.items():
        path = run / "notebooks" / f"{lesson}.ipynb"
        if lesson in ran and path.exists():
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            outputs = next(c["outputs"] for c in cells if c["id"] == cell_id)
            found = [o["data"]["image/png"] for o in outputs if "data" in o]
            with whole(folder / name, "wb") as stream:
                stream.write(base64.b64decode(found[-1]))


def keep(run: Path, folder: Path = RESULTS) -> None:
    """Stores a run's figures and pictures.

    Raises UserError where it is no run, or not one that every reader can repeat.
    """
    try:
        rows = json.loads((run / "course.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{run / 'course.json'}: {error}; run `make course` first"
        raise UserError(message) from None
    for row in rows:
        if changed := row.get("parameters"):
            what = f"was run with other parameters, {changed}; run it without -p"
            raise UserError(f"{run / 'course.json'}: {row['lesson']} {what}")
        if row["profile"] == "auto":
            what = "was run on the profile auto; run it with --profile and a name"
            raise UserError(f"{run / 'course.json'}: {row['lesson']} {what}")
    store(rows, folder)
    keep_pictures(run, rows, folder)


def main(argv=None) -> None:
    """Runs the command. Raises UserError."""
    parser = Parser("python -m helpers.course.ledger", description=__doc__)
    parser.add_argument("--run", type=Path, default=ROOT / "build", help="a run")
    parser.add_argument("--pages", action="store_true", help="only quote the ledger")
    options = parser.parse_args(argv)
    if not options.pages:
        keep(options.run)
    predict()
    quote(read_ledger())


if __name__ == "__main__":
    sys.exit(run_command("ledger", main))
