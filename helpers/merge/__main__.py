"""Merge an adapter into its base, and prove that the model answers as before.

    python -m helpers.merge --adapter out --output merged --dtype bfloat16

A new process loads what was written with transformers alone; its logits and answers
must be those of base and adapter. Only then does the folder appear, with the figures
in merge.json. The base stays as it is. Exit codes: 0 merged, 2 refused, one line.
"""

import sys
from pathlib import Path

from helpers import Parser, merge, run_command


def main(argv: list[str] | None = None) -> None:
    """Merges as the flags say and prints the proof. Raises UserError."""
    parser = Parser("python -m helpers.merge", description=__doc__)
    add = parser.add_argument
    add("--adapter", type=Path, required=True, help="a folder with an adapter")
    add("--output", type=Path, required=True, help="a new folder, for the whole model")
    add("--dtype", help="float32, bfloat16 or float16; without it, the training's")
    add("--model", help="a folder or Hub id: the base, where it has moved")
    add("--data", help="rows whose prompts are asked, as for helpers.finetune")
    add(
        "--map",
        help='names of its columns, such as "question=prompt,answer=completion"',
    )
    add("--rows", type=int, default=8, help="so many of them (%(default)s)")
    choices = vars(parser.parse_args(argv))

    print(merge.summary(merge.merge_adapter(**choices)))


if __name__ == "__main__":
    sys.exit(run_command("merge", main))
