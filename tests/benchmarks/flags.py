"""What the commands of the benchmarks have in common."""

import argparse
from pathlib import Path

from helpers.course.ledger import RESULTS


def parser(about: str) -> argparse.ArgumentParser:
    """The parser of a benchmark: --output, where its file is, comes first."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    return made
