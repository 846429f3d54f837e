"""Two reports side by side: is the difference real, and which code is taken for which?

Everything here works on the rows of a Report.
"""

import numpy as np
import pandas as pd

from helpers.evaluation.intervals import Difference, bootstrap_difference
from helpers.evaluation.json_answer import json_object
from helpers.evaluation.scoring import Report

# An answer that is no JSON object, lacks the field, or has no known code.
OTHER = "other"
SUBSETS = 200  # that are drawn for each count of rows


def hits(report: Report, metric: str = "exact_match") -> np.ndarray:
    """(rows,) of 0 and 1: where a metric or field is right. Raises KeyError."""
    if metric in ("exact_match", "valid_json", "stopped"):
        return np.array([float(row[metric]) for row in report.rows])
    return np.array([float(row["fields"][metric]) for row in report.rows])


def paired_difference(
    one: Report, other: Report, metric: str = "exact_match"
) -> Difference:
    """The difference one - other of two reports on the same rows, paired by row.

    A resample draws rows, and takes both answers to each, so that what is hard for both
    cancels (Efron and Tibshirani 1993, chapter 8, one sample of differences).
    Raises ValueError where the reports are not of the same prompts and answers wanted.
    """
    rng = np.random.default_rng(0)
    return bootstrap_difference(_differences(one, other, metric), rng)


def difference_by_rows(one: Report, other: Report, counts: list[int]) -> pd.DataFrame:
    """What fewer rows would have told: a DataFrame, one row a count of rows.

    counts: how many of the rows. Columns difference, low, high: of the first of them.
    width: the mean width of the intervals of random subsets of that size; undecided:
    the share of these intervals that include zero.
    Raises ValueError as `paired_difference`, or where a count is not 1 to all rows.
    """
    differences = _differences(one, other, "exact_match")
    if bad := [n for n in counts if not 1 <= n <= len(differences)]:
        raise ValueError(f"requires counts from 1 to {len(differences)}: got {bad[0]}")
    rng, found = np.random.default_rng(0), {}
    for n in counts:
        subsets = (rng.choice(differences, n, replace=False) for _ in range(SUBSETS))
        drawn = [bootstrap_difference(subset, rng) for subset in subsets]
        width = float(np.mean([d.high - d.low for d in drawn]))
        undecided = float(np.mean([d.includes_zero for d in drawn]))
        found[n] = (*bootstrap_difference(differences[:n], rng), width, undecided)
    columns = ["difference", "low", "high", "width", "undecided"]
    table = pd.DataFrame.from_dict(found, orient="index", columns=columns)
    return table.rename_axis("rows")


def confusion(report: Report, field: str = "queue") -> pd.DataFrame:
    """How often each expected code (row) was answered by each code (column), counts.

    The last column is `OTHER`. Raises KeyError where the expected answers lack a field.
    """
    expected = [json_object(row["expected"])[field] for row in report.rows]
    codes = sorted(set(expected), key=str)
    given = [(json_object(row["answer"]) or {}).get(field) for row in report.rows]
    table = pd.DataFrame(0, index=codes, columns=[*codes, OTHER])
    for wanted, got in zip(expected, given, strict=True):
        known = isinstance(got, str) and got in codes
        table.loc[wanted, got if known else OTHER] += 1
    return table.rename_axis(index="expected", columns="answered")


def _differences(one: Report, other: Report, metric: str) -> np.ndarray:
    """(rows,) of -1, 0, 1: one's hit minus other's. Raises ValueError."""
    tasks = [[(row["prompt"], row["expected"]) for row in r.rows] for r in (one, other)]
    if tasks[0] != tasks[1]:
        rule = "requires two reports of the same rows in the same order"
        raise ValueError(f"{rule}: got {one.n} rows and {other.n} others")
    return hits(one, metric) - hits(other, metric)
