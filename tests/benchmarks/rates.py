"""Which learning rates suit full fine-tuning and LoRA: lesson 01's loop and class.

    python -m tests.benchmarks.rates [--output data/results]

Runs cells of the lesson, then trains at each rate and asks for the held-out loss, that
of validation rows. Writes rates.tiny.MACHINE.json, row by row; one that is there is not
measured again.
"""

import copy
import sys
from collections.abc import Iterator

from helpers import run_command
from helpers.files import ROOT
from helpers.sweep.rows import Budget, Part, measure
from tests.benchmarks import flags
from tests.house import gates

LESSON = ROOT / "notebooks" / "01_build_lora_by_hand.ipynb"
CELLS = ("parameters", "model", "tokens", "loop", "loss", "lora-linear")
TRIED = {
    "full": (3e-4, 1e-3, 3e-3, 1e-2),
    "LoRA": (1e-3, 3e-3, 1e-2, 2e-2, 3e-2),
}
ROWS = [
    {"method": name, "rate": rate} for name, rates in TRIED.items() for rate in rates
]


def space() -> dict:
    """The names that the lesson's cells bind, with those of its cell `swap`."""
    sources = {c.id: c.source for _, c in gates.cells(LESSON, "code")}
    names = {"__name__": "__main__", "copy": copy}
    for cell in CELLS:
        exec(sources[cell], names)
    layers = names["base"].named_modules()
    names["linear"] = [n for n, m in layers if isinstance(m, names["nn"].Linear)]
    names["linear"].remove("lm_head")
    names["base_loss"] = names["held_out_loss"](names["base"])
    exec(sources["swap"], names)
    return names


def losses(rows: list[dict]) -> Iterator[dict]:
    """Yields the held-out loss after training at each row's rate."""
    lesson = space()
    for row in rows:
        full = row["method"] == "full"
        model = copy.deepcopy(lesson["base"]) if full else lesson["with_lora"]()
        lesson["train"](model, row["rate"])
        yield {"held_out_loss": lesson["held_out_loss"](model)}


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; 1 where rows are left."""
    parser = flags.parser(__doc__)
    options = parser.parse_args(argv)
    part = Part("rates.tiny", ROWS, losses, seconds=60)
    return 1 if measure([part], options.output, Budget(60)) else 0


if __name__ == "__main__":
    sys.exit(run_command("rates", main))
