"""Makes two data sets as other people would hand them over: lesson 12 begins with them.

    python -m data.recipes.own_data

letters.csv: a sheet from Excel, which department deals with which letter.
replies.jsonl: an export of mails and of what the shop wrote back. Neither has the names
that the course's readers know. The same code gives the same bytes.
"""

import json
import random
import sys

from data.make_tickets import DATA, ORDER_LETTERS, fill, load_phrases, read_phrases
from data.recipes.customer_messages import make_message
from helpers import Parser, run_command
from helpers.files import whole

CUSTOMERS, THREADS = 440, 600
COLUMNS = ("Customer no.", "Received", "Letter", "Department", "Clerk")
CLERKS = ("Zoë", "Marta", "José", "Luc", "")
UNSORTED, MISFILED = 0.04, 0.03  # shares of letters: no department, a wrong one


def letters(rng: random.Random) -> list[tuple[str, ...]]:
    """The rows of the sheet, in COLUMNS. A customer who writes again says the same."""
    words = read_phrases("replies")
    phrases = [load_phrases(split) for split in ("train", "validation", "test")]
    complaints = [
        (text, department)
        for queue, department in words["queues"].items()
        for split in phrases
        for text in split["wordings"][queue]
    ]
    numbers = rng.sample(range(1000, 9999), CUSTOMERS)
    rows = []
    for number, complaint in zip(
        numbers, rng.sample(complaints, CUSTOMERS), strict=True
    ):
        letter = write_letter(rng, rng.choice(phrases), complaint[0])
        for time in range(rng.choice([1, 1, 2, 2, 3])):
            text = f"{rng.choice(words['again'])} {letter}" if time else letter
            day = f"{rng.randint(1, 28):02d}.{rng.randint(1, 12):02d}.2025"
            typed = file_letter(rng, complaint[1])
            rows.append((str(number), day, text, typed, rng.choice(CLERKS)))
    rng.shuffle(rows)
    return rows


def file_letter(rng: random.Random, department: str) -> str:
    """What a clerk types for the right department: any spelling, nothing, another."""
    departments = read_phrases("replies")["departments"]
    if rng.random() < MISFILED:
        department = rng.choice([name for name in departments if name != department])
    return "" if rng.random() < UNSORTED else rng.choice(departments[department])


def write_letter(rng: random.Random, frames: dict, complaint: str) -> str:
    """A customer's letter."""
    item, other = rng.sample(frames["items"], 2)
    order = f"{rng.choice(ORDER_LETTERS)}{rng.randrange(10000):04d}"
    name = rng.choice(frames["names"])
    name = name if _fits_cp1252(name) else "Vera"
    slots = {"item": item, "other": other, "order": order, "name": name}
    parts = [fill(complaint, **slots)]
    if rng.random() < 0.5:
        parts.append(fill(rng.choice(frames["order"]), **slots))
    if rng.random() < 0.5:
        parts.append(rng.choice(frames["urgency"][rng.choice(["VM", "HS", "NR"])]))
    if rng.random() < 0.8:
        parts.insert(0, rng.choice(frames["greeting"]))
    parts.append(fill(rng.choice(frames["sign_off"]), **slots))
    return " ".join(parts)


def replies(rng: random.Random) -> list[dict]:
    """The rows of the export: a mail, what was written back, and who belongs to it."""
    topics, rows = read_phrases("replies")["topics"], []
    while len(rows) < THREADS:
        mail, facts = make_message(rng)
        if facts["topic"] in topics:
            row = {"ticket": f"T-{len(rows):05d}", "mail": mail}
            rows.append(
                row
                | {"reply": write_reply(rng, facts), "agent": rng.choice(CLERKS[:-1])}
            )
    return rows


def write_reply(rng: random.Random, facts: dict) -> str:
    """One of many wordings of the one right answer."""
    words = read_phrases("replies")
    number = "numbered" if facts["order"] else "unnumbered"
    kinds = ("opening", "thanks", "says", number, "closing")
    opening, thanks, says, number, closing = (rng.choice(words[k]) for k in kinds)
    subject = f"{facts['topic']}, within {words['topics'][facts['topic']]}"
    text = f"subject: {subject}\n{opening} {thanks}. {says} {number} {closing}"
    return text.format(**facts)


def files() -> dict[str, bytes]:
    """{name: content} of the two files."""
    rows = [COLUMNS, *letters(random.Random("letters"))]
    sheet = "".join(";".join(map(_cell, row)) + "\r\n" for row in rows)
    export = replies(random.Random("replies"))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in export)
    return {
        "letters.csv": sheet.encode("cp1252"),
        "replies.jsonl": lines.encode("utf-8"),
    }


def _cell(text: str) -> str:
    """A field, in quotes where it needs them."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(';"\n') else text


def _fits_cp1252(text: str) -> bool:
    return text.encode("cp1252", "ignore").decode("cp1252") == text


def main(argv: list[str] | None = None) -> None:
    """Writes the files. Raises OSError."""
    name = "python -m data.recipes.own_data"
    Parser(name, description=__doc__.splitlines()[0]).parse_args(argv)
    for name, content in files().items():
        with whole(DATA / "own" / name, "wb") as stream:
            stream.write(content)


if __name__ == "__main__":
    sys.exit(run_command("own_data", main))
