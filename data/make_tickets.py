"""Make the running example: support tickets and the one line of JSON the back office wants.

    python data/make_tickets.py [--output data/tickets] [--seed 0]

Writes train.jsonl (2,000 rows), validation.jsonl (200) and test.jsonl (400). Each row is
{"messages": [user, assistant]}. The phrases are hand-written (data/phrases/); no wording, greeting, sign-off, name or
other phrase of one split stands in another. The same seed gives the same bytes.
"""

import argparse
import json
import os
import random
import re
from pathlib import Path

import yaml

PHRASES = Path(__file__).parent / "phrases"
SIZES = {"train": 2000, "validation": 200, "test": 400}
PRIORITY_WEIGHTS = {"P1": 20, "P2": 25, "P3": 30, "P4": 25}


def load_phrases(split):
    """Return the phrases of one split: {"wordings": {queue: [str]}, "names": [str], "greeting": [str], ...}."""
    wordings, frames, world = (
        yaml.safe_load((PHRASES / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("wordings", "frames", "world")
    )
    phrases = {kind: by_split[split] for kind, by_split in frames.items() if kind != "urgency"}
    phrases["urgency"] = {priority: by_split[split] for priority, by_split in frames["urgency"].items()}
    phrases["wordings"] = {queue: by_split[split] for queue, by_split in wordings.items()}
    return phrases | {"names": world["names"][split], "items": world["items"]}


def fill(template, **slots):
    """Fill the slots of a phrase and mend "a" to "an" before a vowel."""
    text = re.sub(r"\b([Aa]) \{(item|other)\}", lambda m: f"{m[1]}{_n(slots[m[2]])} {{{m[2]}}}", template)
    return text.format(**slots)


def _n(word):
    return "n" if word[0] in "aeio" else ""


def add_typo(rng, text, keep):
    """Swap two neighbouring letters inside one word of at least five letters that is not in keep."""
    words = text.split(" ")
    places = [i for i, w in enumerate(words) if w.isalpha() and w.islower() and len(w) >= 5 and w not in keep]
    if places:
        i = rng.choice(places)
        j = rng.randrange(1, len(words[i]) - 2)
        words[i] = words[i][:j] + words[i][j + 1] + words[i][j] + words[i][j + 2 :]
    return " ".join(words)


def make_ticket(rng, phrases):
    """Return (message, answer): the customer's text and the five fields the back office wants."""
    queue = rng.choice(sorted(phrases["wordings"]))
    priority = rng.choices(list(PRIORITY_WEIGHTS), list(PRIORITY_WEIGHTS.values()))[0]
    item, other = rng.sample(phrases["items"], 2)
    order = f"{rng.choice('ABCDEFGHJKLMNPQRSTUVWXYZ')}{rng.randrange(10000):04d}"
    slots = {"item": item, "other": other, "order": order, "name": rng.choice(phrases["names"])}

    wording = fill(rng.choice(phrases["wordings"][queue]), **slots)
    if rng.random() < 0.08:
        wording = add_typo(rng, wording, keep=f"{item} {other}".split())
    body = [wording]
    if rng.random() < 0.2:  # a second product, which is not meant
        kind = rng.choice(["context", "aside"])
        body.insert(0 if kind == "context" else 1, fill(rng.choice(phrases[kind]), **slots))
    if rng.random() < 0.12:
        order = None
    else:
        _insert(rng, body, fill(rng.choice(phrases["order"]), **slots))
    if priority != "P3" or rng.random() < 0.5:  # nothing said means the usual pace, P3
        _insert(rng, body, rng.choice(phrases["urgency"][priority]))
    message = _frame(rng, phrases, body, slots)
    return message, {"queue": queue, "priority": priority, "order": order, "item": item, "from": slots["name"]}


def _insert(rng, body, sentence):
    """Put a sentence anywhere, but after the first one three times out of four."""
    body.insert(0 if rng.random() < 0.25 else rng.randint(1, len(body)), sentence)


def _frame(rng, phrases, body, slots):
    """Add greeting and name: at the end as a sign-off, or somewhere before."""
    if rng.random() < 0.7:
        body.append(fill(rng.choice(phrases["sign_off"]), **slots))
    else:
        body.insert(rng.randint(0, len(body)), fill(rng.choice(phrases["introduction"]), **slots))
    if rng.random() < 0.85:
        body.insert(0, rng.choice(phrases["greeting"]))
    return " ".join(body)


def make_split(split, seed=0):
    """Return the rows of one split, each {"messages": [...]}; no message occurs twice."""
    rng = random.Random(f"{seed}/{split}")
    phrases = load_phrases(split)
    rows = {}
    while len(rows) < SIZES[split]:
        message, answer = make_ticket(rng, phrases)
        rows.setdefault(message, answer)
    return [
        {
            "messages": [
                {"role": "user", "content": message},
                {"role": "assistant", "content": json.dumps(answer, ensure_ascii=False)},
            ]
        }
        for message, answer in rows.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "tickets")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for split in SIZES:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in make_split(split, args.seed)]
        part = args.output / f"{split}.jsonl.part"
        part.write_text("".join(lines), encoding="utf-8", newline="\n")
        os.replace(part, args.output / f"{split}.jsonl")
        print(f"{split}: {len(lines)} rows")


if __name__ == "__main__":
    main()
