"""Writes messages with notes as in the pretraining text, which no model has read.

    python -m data.recipes.held_out_messages

On these 32 lesson 05 measures what fine-tuning forgets.
"""

import json
import sys
from random import Random

from data.recipes.corpus import message_document
from helpers import Parser, run_command
from helpers.files import CHECKPOINTS, write_text

FILE = CHECKPOINTS / "held_out_messages.jsonl"


def content() -> str:
    """The file's text: one {"text": ...} a line."""
    rng = Random("lesson 05")
    rows = [{"text": message_document(rng)} for _ in range(32)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(argv: list[str] | None = None) -> None:
    """Writes the file. Raises OSError."""
    name = "python -m data.recipes.held_out_messages"
    Parser(name, description=__doc__.splitlines()[0]).parse_args(argv)
    write_text(FILE, content())


if __name__ == "__main__":
    sys.exit(run_command("held_out_messages", main))
