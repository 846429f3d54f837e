"""Compares settings, on validation rows: each row trains a model and scores it.

    python -m helpers.sweep                             every question, profile tiny
    python -m helpers.sweep rate-rank --seeds 0 1 2     one of them
    python -m helpers.sweep seeds --minutes 20 --jobs 2

The questions and their grids are helpers/sweep/questions.yaml. Every row is written at
once to sweep.PROFILE.MACHINE.json; one that is there is not measured again. Exit codes:
0 all is measured, 1 rows are left, 2 the request was wrong, one line.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from helpers import Parser, UserError, run_command
from helpers.config import load_profile
from helpers.course import RESULTS
from helpers.environment import use_one_gpu
from helpers.files import ROOT
from helpers.sweep import Budget, Part, RowFile, measure
from helpers.sweep.grids import check, rows_of

ABOUT = {"note": "scores are of validation rows; cpu_seconds, of the updates alone"}
MOST_JOBS = 61  # more processes no pool has on Windows
SECONDS = {"tiny": 30, "small": 400}  # a row, at first; later what the last one took


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; the exit code. Raises UserError."""
    parser = Parser("python -m helpers.sweep", description=__doc__)
    add = parser.add_argument
    add("question", nargs="*", help="default: all, the most important first")
    add("--profile", default="tiny", choices=SECONDS, help="default: %(default)s")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--scored", type=int, default=200, help="validation rows")
    add("--minutes", type=float, default=600.0, help="begin no row that takes longer")
    add("--jobs", type=int, default=1, help="processes, each with OMP_NUM_THREADS")
    add("--output", type=Path, default=RESULTS, help="a folder")
    args = parser.parse_args(argv)

    asked = check(args.question, args.profile)
    most = len((ROOT / "data/tickets/validation.jsonl").read_bytes().splitlines())
    for name, limit in {"jobs": MOST_JOBS, "scored": most}.items():
        if not 0 < (number := getattr(args, name)) <= limit:
            raise UserError(f"--{name} must be from 1 to {limit}, got {number}")
    for seed in args.seeds:
        if not 0 <= seed < 2**32:
            raise UserError(f"--seeds must be from 0 to 4294967295, got {seed}")
    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"--output {args.output} is a file: give a folder")
    use_one_gpu()  # before a profile looks for a device
    if args.profile == "small":
        from helpers.models import fetch_small_model

        fetch_small_model()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, context) as pool:
        return 1 if sweep(asked, args, map if args.jobs == 1 else pool.map) else 0


def sweep(asked: list[str], args: argparse.Namespace, spread: Callable) -> int:
    """Measures questions one after the other, rows by `spread`; how many are left."""
    from helpers.sweep import answer

    budget, left = Budget(args.minutes), 0
    profile, name = load_profile(args.profile), f"sweep.{args.profile}"
    for question in asked:
        rows = rows_of(question, profile, args.seeds, args.scored)
        adopt(RowFile(name, args.output), rows)
        results = partial(spread, partial(answer, profile=args.profile))
        part = Part(name, rows, results, SECONDS[args.profile], about=ABOUT)
        left += measure([part], args.output, budget)
    return left


def adopt(file: RowFile, rows: list[dict]) -> None:
    """Copies rows that another question has measured with the same settings."""
    known = [row for row in file.entry["rows"] if "error" not in row]
    for row in file.missing(rows):
        for other in known:
            if file.same(row, other | {"question": row["question"]}):
                file.add(row, other | row)


if __name__ == "__main__":
    sys.exit(run_command("sweep", main))
