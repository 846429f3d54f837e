"""Several models answer the same messages side by side, live or as a page.

A front end with a kernel gets a box to type in; without one the same table is plain
HTML. All text of people and models is escaped.
"""

import os
from html import escape

from helpers.course import MARK
from helpers.widgets.slider import live

CELL = "border:1px solid #9e9e9e;padding:4px 8px;text-align:left;vertical-align:top;"
TEXT = f"{CELL}white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace;"
NOTHING = "<i>(nothing)</i>"


class ChatView:
    """A table of messages and answers. Jupyter shows it; `html` is its text."""

    def __init__(self, html: str):
        self.html = html

    def _repr_html_(self):
        return self.html


def chat_view(turns) -> ChatView:
    """The table of some turns: a row a message, a column a model.

    turns: [(message, {label: answer, ...}), ...], the same labels in every turn.
    """
    labels = list(turns[0][1]) if turns else []
    head = "".join(
        f'<th scope="col" style="{CELL}">{escape(label)}</th>'
        for label in ["message", *labels]
    )
    rows = "".join(
        f"<tr>{_cell(message)}{''.join(map(_cell, answers.values()))}</tr>"
        for message, answers in turns
    )
    table = '<table style="border-collapse:collapse;width:100%">'
    return ChatView(f"{table}<tr>{head}</tr>{rows}</table>")


def chat(askers: dict, messages) -> None:
    """Shows the answers to some messages, with a box for more where there is a kernel.

    askers: {label: ask}, where ask(message) returns a text or yields its pieces.
    A run of `helpers.course` gets the table alone, so that no widget state enters the
    executed notebook. A front end without widgets shows that same table.
    """
    from IPython.display import display

    turns = [(message, last(askers, message)) for message in messages]
    if MARK in os.environ:
        display(chat_view(turns))
        return
    box = build(askers, turns)
    page = {"text/html": chat_view(turns).html}
    display(live(box) | page, raw=True)


def build(askers: dict, turns):
    """The widget of `chat`: the table, a line to type in, a button."""
    import ipywidgets

    turns = list(turns)
    table = ipywidgets.HTML(chat_view(turns).html)
    line = ipywidgets.Text(placeholder="a message", layout={"width": "80%"})
    send = ipywidgets.Button(description="Send")

    def ask_all(_):
        message, line.value = line.value.strip(), ""
        if not message or send.disabled:
            return
        send.disabled = True
        turns.append((message, dict.fromkeys(askers, "")))
        try:
            for said in stream(askers, message):
                turns[-1] = (message, said)
                table.value = chat_view(turns).html
        finally:
            send.disabled = False

    send.on_click(ask_all)
    return ipywidgets.VBox([table, ipywidgets.HBox([line, send])])


def stream(askers: dict, message: str):
    """Yields {label: what it has said so far}, one asker after the other.

    An asker that raises, a stopped server say, has said so in one line.
    """
    said = dict.fromkeys(askers, "")
    for label, ask in askers.items():
        try:
            answer = ask(message)
            for piece in [answer] if isinstance(answer, str) else answer:
                said[label] += piece
                yield dict(said)
        except Exception as error:  # whatever it is, the other askers still answer
            first = (str(error).splitlines() or [""])[0]
            said[label] += f"[no answer: {type(error).__name__} {first}]"
        yield dict(said)


def last(askers: dict, message: str) -> dict[str, str]:
    """{label: the whole answer}."""
    return [{}, *stream(askers, message)][-1]


def _cell(text: str) -> str:
    """One cell of the table."""
    return f'<td style="{TEXT}">{escape(text) or NOTHING}</td>'
