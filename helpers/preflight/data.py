"""Checks on the rows of a data set."""

from collections.abc import Iterator

from helpers.preflight.registry import check_of
from helpers.preflight.report import WARNS, Finding

FEW_ROWS = 50  # training rows; with fewer, chance decides what is learnt
FEW_SCORED = 20  # rows of a score; its 95 % interval is 40 points wide then


@check_of("too-few-rows", about="how many rows each split has")
def too_few_rows(splits) -> Iterator[Finding]:
    """Whether there is enough to learn from, and to measure by."""
    for name, rows in splits.items():
        least = FEW_ROWS if name == "train" else FEW_SCORED
        if len(rows) < least:
            why = "a score of so few rows says little: see its interval"
            if name == "train":
                why = "so few rows teach a form at best, and are soon known by heart"
            what = f"{len(rows):,} rows, expected {least:,} or more"
            mend = f"add rows until {name} has {least:,}"
            yield Finding("too-few-rows", WARNS, name, what, why, mend)
    return ", ".join(f"{name} {len(rows):,}" for name, rows in splits.items())
