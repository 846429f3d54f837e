"""Wrong answers side by side, live or as a page: message, expected, each answer.

A wrong value is bold, underlined and marked with a cross, so colour is not needed. All
text of data and models is escaped.
"""

import json
import os
from html import escape

from helpers.course import MARK
from helpers.evaluation import json_object
from helpers.widgets.slider import live

CELL = "border:1px solid #9e9e9e;padding:2px 8px;text-align:left;vertical-align:top;"
TEXT = f"{CELL}white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace;"
WRONG = f"{TEXT}font-weight:bold;text-decoration:underline;"
WRONG += "background:#ffebee;color:#b71c1c;"
ANY = "any"
STATIC = 5  # how many failures a page without a kernel shows


class FailureView:
    """A view of one or more failures. Jupyter shows it; `html` is its text."""

    def __init__(self, html: str):
        self.html = html

    def _repr_html_(self):
        return self.html


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


def failure_view(reports: dict, numbers) -> FailureView:
    """The view of some rows, one block each. numbers: their places in the reports."""
    blocks = [_block(reports, number) for number in numbers]
    return FailureView("<hr>".join(blocks) or "<p>No failure.</p>")


def browse_failures(reports: dict) -> None:
    """Shows the failures of the last report, one at a time, by field.

    A run of `helpers.course` gets the first ones alone, so that no widget state enters
    the executed notebook. A front end without widgets shows that same page.
    Raises ValueError as `failures` does.
    """
    from IPython.display import display

    page = failure_view(reports, failures(reports)[:STATIC])
    if MARK in os.environ:
        display(page)
        return
    box = build(reports)
    display(live(box) | {"text/html": page.html}, raw=True)


def build(reports: dict):
    """The widget of `browse_failures`: which field, which failure, the view."""
    import ipywidgets

    found = {name: failures(reports, name) for name in [ANY, *_fields(reports)]}
    options = [(f"{name} ({len(rows)})", name) for name, rows in found.items()]
    field = ipywidgets.Dropdown(options=options, value=ANY, description="wrong")
    place = ipywidgets.IntSlider(min=1, max=max(1, len(found[ANY])), description="row")
    view = ipywidgets.HTML()

    def redraw(_=None):
        rows = found[field.value]
        view.value = failure_view(reports, rows[place.value - 1 : place.value]).html

    def choose(_):
        place.max = max(1, len(found[field.value]))
        place.value = 1
        redraw()

    field.observe(choose, names="value")
    place.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([field, place]), view])


def _fields(reports: dict) -> list[str]:
    """The fields of the expected answers."""
    return list(next(iter(reports.values())).field_accuracy)


def _is_wrong(row: dict, wrong: str) -> bool:
    """Whether a row fails, at one field or at any."""
    return not (row["exact_match"] if wrong == ANY else row["fields"].get(wrong, True))


def _block(reports: dict, number: int) -> str:
    """One failure: its message, and a table with a line for each answer."""
    rows = {label: report.rows[number] for label, report in reports.items()}
    first = next(iter(rows.values()))
    right = {"fields": dict.fromkeys(first["fields"], True), "exact_match": True}
    rows = {"expected": {"answer": first["expected"], **right}, **rows}
    message = first["prompt"][-1]["content"] if first["prompt"] else ""
    head = "".join(
        f'<th scope="col" style="{CELL}">{escape(f)}</th>' for f in right["fields"]
    )
    lines = "".join(_answer(label, row) for label, row in rows.items())
    return (
        f"<div><b>row {number}</b></div>"
        f'<div style="white-space:pre-wrap">{escape(message)}</div>'
        f'<table style="border-collapse:collapse">'
        f'<tr><th style="{CELL}"></th>{head}</tr>{lines}</table>'
    )


def _answer(label: str, row: dict) -> str:
    """An answer: a cell a field, or one wide cell where that would say too little."""
    got, hits = json_object(row["answer"]), row["fields"]
    if hits and got is not None and (row["exact_match"] or not all(hits.values())):
        return _line(label, got, hits)
    if row["exact_match"]:
        return _wide(label, row["answer"])
    why = "no JSON object: " if got is None else "another text: "
    return _wide(label, f"✗ {why if hits else ''}{row['answer']}", len(hits) or 1)


def _line(label: str, got: dict, hits: dict) -> str:
    """The fields of an object, each in its cell, the wrong ones marked."""
    cells = []
    for name in hits:
        shown = json.dumps(got[name], ensure_ascii=False) if name in got else "(none)"
        mark, look = ("", TEXT) if hits[name] else ("✗ ", WRONG)
        cells.append(f'<td style="{look}">{mark}{escape(shown)}</td>')
    return f"<tr>{_head(label)}{''.join(cells)}</tr>"


def _wide(label: str, text: str, width: int = 1) -> str:
    """A line whose text takes the place of that many cells."""
    cell = f'<td colspan="{width}" style="{TEXT}">{escape(text)}</td>'
    return f"<tr>{_head(label)}{cell}</tr>"


def _head(label: str) -> str:
    """Whose answer a line holds."""
    return f'<th scope="row" style="{CELL}">{escape(label)}</th>'
