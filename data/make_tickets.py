"""Makes the running example: support tickets, and the line of JSON wanted for each.

    python -m data.make_tickets [--output data/tickets] [--seed 0]

Writes train.jsonl (2,000 rows), validation.jsonl (200) and test.jsonl (400). Each row
is {"messages": [user, assistant]}. The phrases are hand-written (data/phrases/); no
wording, greeting, sign-off, name or other phrase of one split stands in another. The
same seed gives the same bytes.
"""

import json
import random
import re
import sys
from functools import cache
from pathlib import Path

import yaml

from helpers import Parser, UserError, run_command
from helpers.files import ROOT, write_text

DATA = ROOT / "data"
SIZES = {"train": 2000, "validation": 200, "test": 400}
ORDER_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # no I and O, which look like digits
PRIORITY_WEIGHTS = {"VM": 20, "HS": 25, "ZC": 30, "NR": 25}


@cache
def read_phrases(name: str) -> dict:
    """The lists of data/phrases/NAME.yaml."""
    return yaml.safe_load((DATA / "phrases" / f"{name}.yaml").read_text("utf-8"))


def load_phrases(split: str) -> dict:
    """The phrases of one split.

    {"wordings": {queue: [str]}, "urgency": {priority: [str]}, "greeting": [str], ...}:
    every other kind is a list. "items" is the same in all splits.
    """
    frames, world = dict(read_phrases("frames")), read_phrases("world")
    by_code = {"urgency": frames.pop("urgency"), "wordings": read_phrases("wordings")}
    phrases = {kind: lists[split] for kind, lists in frames.items()}
    for kind, codes in by_code.items():
        phrases[kind] = {code: lists[split] for code, lists in codes.items()}
    return phrases | {"names": world["names"][split], "items": world["items"]}


def fill(template: str, **slots: str) -> str:
    """A phrase with its slots filled, and "a" mended to "an" before a vowel."""

    def mend(found: re.Match) -> str:
        an = "n" if slots[found[2]][0] in "aeio" else ""
        return f"{found[1]}{an} {{{found[2]}}}"

    return re.sub(r"\b([Aa]) \{(item|other)\}", mend, template).format(**slots)


def add_typo(rng: random.Random, text: str, keep: list[str]) -> str:
    """A text with two inner letters of a word swapped: five or more, not in `keep`."""

    def fits(word: str) -> bool:
        return len(word) >= 5 and word.isalpha() and word.islower() and word not in keep

    words = text.split(" ")
    places = [i for i, word in enumerate(words) if fits(word)]
    if places:
        i = rng.choice(places)
        j, word = rng.randrange(1, len(words[i]) - 2), words[i]
        words[i] = word[:j] + word[j + 1] + word[j] + word[j + 2 :]
    return " ".join(words)


def make_ticket(rng: random.Random, phrases: dict) -> tuple[str, dict]:
    """(message, answer): a customer's text, and the five fields wanted of it."""
    queue = rng.choice(sorted(phrases["wordings"]))
    priority = rng.choices(list(PRIORITY_WEIGHTS), list(PRIORITY_WEIGHTS.values()))[0]
    item, other = rng.sample(phrases["items"], 2)
    order = f"{rng.choice(ORDER_LETTERS)}{rng.randrange(10000):04d}"
    name = rng.choice(phrases["names"])
    slots = {"item": item, "other": other, "order": order, "name": name}

    wording = fill(rng.choice(phrases["wordings"][queue]), **slots)
    if rng.random() < 0.08:
        wording = add_typo(rng, wording, keep=f"{item} {other}".split())
    body = [wording]
    if rng.random() < 0.2:  # a second product, which is not meant
        kind = rng.choice(["context", "aside"])
        second = fill(rng.choice(phrases[kind]), **slots)
        body.insert(0 if kind == "context" else 1, second)
    if rng.random() < 0.12:
        order = None
    else:
        _insert(rng, body, fill(rng.choice(phrases["order"]), **slots))
    if priority != "ZC" or rng.random() < 0.5:  # nothing said means the usual pace, ZC
        _insert(rng, body, rng.choice(phrases["urgency"][priority]))
    message = _frame(rng, phrases, body, slots)
    answer = {"queue": queue, "priority": priority, "order": order, "item": item}
    return message, answer | {"from": name}


def _insert(rng: random.Random, body: list[str], sentence: str) -> None:
    """Puts a sentence anywhere, but after the first one three times out of four."""
    body.insert(0 if rng.random() < 0.25 else rng.randint(1, len(body)), sentence)


def _frame(rng: random.Random, phrases: dict, body: list[str], slots: dict) -> str:
    """The message, with greeting and name: signed off at the end, or said before."""
    if rng.random() < 0.7:
        body.append(fill(rng.choice(phrases["sign_off"]), **slots))
    else:
        place = rng.randint(0, len(body))
        body.insert(place, fill(rng.choice(phrases["introduction"]), **slots))
    if rng.random() < 0.85:
        body.insert(0, rng.choice(phrases["greeting"]))
    return " ".join(body)


def make_split(split: str, seed: int = 0) -> list[dict]:
    """The rows of a split, {"messages": [...]} each; no message occurs twice."""
    rng = random.Random(f"{seed}/{split}")
    phrases = load_phrases(split)
    rows = {}
    while len(rows) < SIZES[split]:
        message, answer = make_ticket(rng, phrases)
        rows.setdefault(message, answer)
    return [
        {"messages": [_turn("user", message), _turn("assistant", _one_line(answer))]}
        for message, answer in rows.items()
    ]


def write_splits(output: Path, seed: int = 0) -> None:
    """Writes the three files. Each appears whole or not at all."""
    output.mkdir(parents=True, exist_ok=True)
    for split in SIZES:
        lines = [_one_line(row) + "\n" for row in make_split(split, seed)]
        write_text(output / f"{split}.jsonl", "".join(lines))


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _one_line(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False)


def main(argv: list[str] | None = None) -> None:
    """Runs the command. Raises UserError where the folder cannot be written."""
    parser = Parser("python -m data.make_tickets", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=DATA / "tickets")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        write_splits(args.output, args.seed)
    except OSError as error:
        raise UserError(f"cannot write {args.output}: {error}") from None
    for split, size in SIZES.items():
        print(f"{split}: {size:,} rows")


if __name__ == "__main__":
    sys.exit(run_command("make_tickets", main))
