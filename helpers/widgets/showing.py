"""What a cell shows: one form for every front end, a widget where there is a kernel."""

from collections.abc import Callable

import IPython.display
import pandas as pd
from ipywidgets import Widget
from pandas.io.formats.style import Styler

from helpers import is_headless

WIDGET = "application/vnd.jupyter.widget-view+json"
MOVES = {"moves": True}  # metadata: a reader of the static form is told so
CELL = "border:1px solid #9e9e9e;padding:4px 8px;text-align:left;vertical-align:top"
TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace"
WRONG = "font-weight:bold;text-decoration:underline;background:#ffebee;color:#b71c1c"
LOOKS = {"": "border-collapse:collapse"}  # {selector below the table: CSS}
LOOKS |= {"th": CELL, "td": f"{CELL};{TEXT}", "td.wrong": WRONG}


def show(static, build: Callable[[], Widget]) -> None:
    """Shows a widget that can be moved, or its static form where it cannot.

    static: {MIME type: data}, or an object with `_repr_html_`. A run of the course gets
    it alone, and a front end without widgets falls back to it.
    build: makes the widget. A run of the course does not call it, so that no widget
        state enters the executed notebook.
    """
    if not isinstance(static, dict):
        static = {"text/html": static._repr_html_(), "text/plain": repr(static)}
    if not is_headless():
        # As a method of ipywidgets 8 gives it; version 7, which Colab has, lacks that.
        name = {"version_major": 2, "version_minor": 0, "model_id": build().model_id}
        static = static | {WIDGET: name}
    IPython.display.display(static, raw=True, metadata=MOVES)


def table(texts: pd.DataFrame, classes: pd.DataFrame | None = None) -> Styler:
    """A table of texts; they, the headers and the index are escaped.

    classes: "wrong" for the cells of that look, an empty text for others.
    """
    # One id for all tables: they look alike, and the page is the same in every run.
    styler = Styler(texts, uuid="texts", cell_ids=False).format(escape="html")
    for axis in (0, 1):
        styler.format_index(escape="html", na_rep="", axis=axis)
    if classes is not None:
        styler.set_td_classes(classes)
    looks = [{"selector": where, "props": look} for where, look in LOOKS.items()]
    return styler.set_table_styles(looks)
