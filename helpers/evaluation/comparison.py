"""Models side by side: is the difference real, and which code is taken for which?"""

import numpy as np
import pandas as pd

from helpers.evaluation.intervals import Difference, bootstrap_difference
from helpers.evaluation.json_answer import json_object
from helpers.evaluation.scoring import Report, marks

# An answer that is no JSON object, lacks the field, or has no known code.
OTHER = "other"
SUBSETS = 200  # that are drawn for each count of rows


def on_each(model, measure, *given, **options) -> dict:
    """{"base" and each adapter of a PeftModel: what measure(model, ...) says of it}.

    The last adapter stays chosen.
    """
    with model.disable_adapter():
        found = {"base": measure(model, *given, **options)}
    for name in model.peft_config:
        model.set_adapter(name)
        found[name] = measure(model, *given, **options)
    return found


def hits(report: Report, metric: str = "exact_match") -> np.ndarray:
    """(rows,) of 0 to 1: where a metric or field is right. Raises KeyError.

    Rows whose expected JSON lacks the field are left out.
    """
    report.metrics()[metric]
    if metric in ("exact_match", "valid_json", "stopped"):
        return np.array([float(row[metric]) for row in report.rows])
    return np.array(marks(report.rows, metric, report.scorer), dtype=float)


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

    counts: how many of the rows. Of random subsets of that size, width: the mean width
    of the paired intervals; undecided: the share of them that include zero; overlap:
    the share in which the intervals of the two shares overlap.
    Raises ValueError as `paired_difference`, or where a count is not 1 to all rows.
    """
    size = len(_differences(one, other, "exact_match"))
    if bad := [n for n in counts if not 1 <= n <= size]:
        raise ValueError(f"requires counts from 1 to {size}: got {bad[0]}")
    rng, found = np.random.default_rng(0), {}
    pair = np.stack([hits(one), hits(other)])  # (2, rows)
    for n in counts:
        subsets = [rng.choice(pair, n, replace=False, axis=1) for _ in range(SUBSETS)]
        found[n] = np.mean([_told(*subset, rng) for subset in subsets], axis=0)
    columns = ["width", "undecided", "overlap"]
    table = pd.DataFrame.from_dict(found, orient="index", columns=columns)
    return table.rename_axis("rows")


def confusion(report: Report, field: str = "queue") -> pd.DataFrame:
    """How often each expected code (row) was answered by each code (column), counts.

    The last column is `OTHER`, in brackets where that is a code. Raises KeyError where
    the expected answers lack a field.
    """
    expected = [(json_object(row["expected"]) or {})[field] for row in report.rows]
    codes = sorted(set(expected), key=str)
    given = [(json_object(row["answer"]) or {}).get(field) for row in report.rows]
    other = f"({OTHER})" if OTHER in codes else OTHER
    table = pd.DataFrame(0, index=codes, columns=[*codes, other])
    for wanted, got in zip(expected, given, strict=True):
        known = any(type(got) is type(code) and got == code for code in codes)
        table.loc[wanted, got if known else other] += 1
    return table.rename_axis(index="expected", columns="answered")


def _told(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple:
    """(width, undecided, overlap) of two models' hits on some rows."""
    paired = bootstrap_difference(one - other, rng)
    (_, low, high), (_, low_2, high_2) = (
        bootstrap_difference(share, rng) for share in (one, other)
    )
    overlap = max(low, low_2) <= min(high, high_2)
    return paired.high - paired.low, paired.includes_zero, overlap


def _differences(one: Report, other: Report, metric: str) -> np.ndarray:
    """(rows,) of -1, 0, 1: one's hit minus other's, as `hits`. Raises ValueError."""
    tasks = [[(row["prompt"], row["expected"]) for row in r.rows] for r in (one, other)]
    if tasks[0] != tasks[1]:
        rule = "requires two reports of the same rows in the same order"
        raise ValueError(f"{rule}: got {one.n} rows and {other.n} others")
    return hits(one, metric) - hits(other, metric)
