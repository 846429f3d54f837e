"""How many rows lesson 12's letters need: its function `learn` on 25 to all, by seed.

    python -m tests.benchmarks.own_curve [--profile small] [--output data/results]

A seed says how the adapter begins and in what order the rows come; which rows they
are stays the same. Writes own_curve.PROFILE.MACHINE.json, row by row; one that is
there is not measured again.
"""

import sys
from collections.abc import Iterator
from functools import partial

from helpers import run_command
from helpers.files import ROOT
from helpers.sweep.rows import Budget, Part, measure
from tests.benchmarks import flags
from tests.house import gates

LESSON = ROOT / "notebooks" / "12_finetune_your_own_data.ipynb"
CELLS = ("imports", "look", "labels", "clean", "split", "learn")
ROWS = [
    {"train_rows": rows, "seed": seed}
    for seed in (0, 1, 2)
    for rows in (25, 50, 100, 200, None)
]


def shares(profile: str, rows: list[dict]) -> Iterator[dict]:
    """Yields what is right of the validation rows after training on each row's rows."""
    sources = {c.id: c.source for _, c in gates.cells(LESSON, "code")}
    space = {"__name__": "__main__", "Path": type(ROOT)}
    exec(sources["parameters"], space)
    space["PROFILE"] = profile
    for cell in CELLS:
        exec(sources[cell], space)
    given = {"map": space["COLUMNS"], "group": space["CUSTOMER"]}
    for row in rows:
        ask = space["run"] / "letters.csv", "curve-{train_rows}-{seed}".format(**row)
        metrics, _ = space["learn"](*ask, **row, **given)
        yield {
            "rows": metrics["data"]["rows"]["train"],
            "updates": metrics["steps"],
            "scored": metrics["data"]["rows"]["validation"],
            "exact_match": round(metrics["after"]["exact_match"], 4),
            "validation_loss": round(metrics["after"]["validation_loss"], 4),
        }


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; 1 where rows are left."""
    parser = flags.parser(__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="tiny", choices=("tiny", "small"))
    options = parser.parse_args(argv)
    of_them = partial(shares, options.profile)
    part = Part(f"own_curve.{options.profile}", ROWS, of_them, seconds=60)
    return 1 if measure([part], options.output, Budget(120)) else 0


if __name__ == "__main__":
    sys.exit(run_command("own_curve", main))
