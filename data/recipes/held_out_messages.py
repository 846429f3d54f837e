"""Writes messages with notes as in the pretraining text, which no model has read.

    python -m data.recipes.held_out_messages

On these 32 lesson 05 measures what fine-tuning forgets.
"""

import json
from random import Random

from data.recipes.corpus import message_document
from helpers.files import ROOT, write_text

FILE = ROOT / "data" / "checkpoints" / "held_out_messages.jsonl"


def content() -> str:
    """The file's text: one {"text": ...} a line."""
    rng = Random("lesson 05")
    rows = [{"text": message_document(rng)} for _ in range(32)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    write_text(FILE, content())
