"""Wrong answers side by side, live or as a page: message, expected, each answer.

A wrong value is bold, underlined and marked with a cross, so colour is not needed. All
text of data and models is escaped.
"""

import json
from collections.abc import Iterable
from html import escape

import ipywidgets
import pandas as pd
from IPython.display import HTML

from helpers.evaluation import json_object
from helpers.language import localized
from helpers.widgets.showing import show, table

ANY = "any"
CROSS = "✗"
WHOLE = None  # the column of answers as a whole: no field has its name
STATIC = 5  # how many failures a page without a kernel shows


def failures(reports: dict, wrong: str = ANY) -> list[int]:
    """The rows on which the last report fails.

    reports: {label: evaluation.Report}, of the same rows. wrong: a field that must be
        wrong; `ANY`: no exact match.
    Raises ValueError for reports of different rows.
    """
    tasks = [[row["expected"] for row in r.rows] for r in reports.values()]
    if any(task != tasks[0] for task in tasks):
        counts = ", ".join(str(len(task)) for task in tasks)
        raise ValueError(f"requires reports of the same rows: got {counts} rows")
    last = list(reports.values())[-1].rows
    return [i for i, row in enumerate(last) if _is_wrong(row, wrong)]


def failure_view(reports: dict, numbers: Iterable[int]) -> HTML:
    """The view of some rows, one block each. numbers: their places in the reports."""
    blocks = [_block(reports, number) for number in numbers]
    return HTML("<hr>".join(blocks) or f"<p>{localized('No failure.')}</p>")


def browse_failures(reports: dict) -> None:
    """Shows the failures of the last report, or the first. Raises ValueError."""
    page = failure_view(reports, failures(reports)[:STATIC])
    show(page, lambda: build(reports))


def build(reports: dict) -> ipywidgets.VBox:
    """The widget of `browse_failures`: which field, which failure, the view."""
    fields = next(iter(reports.values())).field_accuracy
    found = {name: failures(reports, name) for name in (ANY, *fields)}
    shown = {ANY: localized("any")}
    options = [(f"{shown.get(n, n)} ({len(rows)})", n) for n, rows in found.items()]
    wrong, row = localized("wrong"), localized("row")
    field = ipywidgets.Dropdown(options=options, value=ANY, description=wrong)
    place = ipywidgets.IntSlider(min=1, max=max(1, len(found[ANY])), description=row)
    view = ipywidgets.HTML()

    def redraw(_=None) -> None:
        rows = found[field.value]
        view.value = failure_view(reports, rows[place.value - 1 : place.value]).data

    def choose(_) -> None:
        place.max = max(1, len(found[field.value]))
        place.value = 1
        redraw()

    field.observe(choose, names="value")
    place.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([field, place]), view])


def _is_wrong(row: dict, wrong: str) -> bool:
    """Whether a row fails, at one field or at any; with a scorer, short of 1."""
    marks = row["fields"]
    if wrong != ANY:
        return marks.get(wrong, 1) < 1
    if row["valid_json"] is None:
        return min(marks.values(), default=1) < 1
    return not row["exact_match"]


def _block(reports: dict, number: int) -> str:
    """One failure: its message, and a table with a line for each answer."""
    rows = {label: report.rows[number] for label, report in reports.items()}
    first = next(iter(rows.values()))
    fields = list(first["fields"])
    right = {"fields": dict.fromkeys(fields, True), "exact_match": True}
    right["valid_json"] = first["valid_json"]
    rows = {localized("expected"): {"answer": first["expected"], **right}, **rows}
    message = first["prompt"][-1]["content"] if first["prompt"] else ""
    lines = [_line(row) for row in rows.values()]
    columns = [*fields, WHOLE] if any(WHOLE in line for line in lines) else fields
    cells = [[line.get(name, "") for name in columns] for line in lines]
    texts = pd.DataFrame(cells, index=list(rows), columns=columns)
    classes = texts[fields].map(lambda text: "wrong" if text[:1] == CROSS else "")
    return (
        f"<div><b>{localized('row')} {number}</b></div>"
        f'<div style="white-space:pre-wrap">{escape(message)}</div>'
        f"{table(texts, classes).to_html()}"
    )


def _line(row: dict) -> dict:
    """The texts of an answer by field, or whole where that would say too little."""
    got, hits = json_object(row["answer"]), row["fields"]
    if row["valid_json"] is None:  # a scorer's marks, not fields of an object
        marks = {n: f"{CROSS} {v:g}" if v < 1 else "1" for n, v in hits.items()}
        return marks | {WHOLE: row["answer"]}
    if hits and got is not None and (row["exact_match"] or not all(hits.values())):
        return {name: _value(got, name, hit) for name, hit in hits.items()}
    if row["exact_match"]:
        return {WHOLE: row["answer"]}
    why = localized("no JSON object") if got is None else localized("another text")
    return {WHOLE: f"{CROSS} {f'{why}: ' if hits else ''}{row['answer']}"}


def _value(got: dict, name: str, right: bool) -> str:
    """A field of an answer as JSON, marked where it is wrong."""
    there = name in got
    shown = json.dumps(got[name], ensure_ascii=False) if there else localized("(none)")
    # Half of a surrogate pair, which JSON can name and no page can hold.
    shown = shown.encode("utf-8", "backslashreplace").decode("utf-8")
    return shown if right else f"{CROSS} {shown}"
