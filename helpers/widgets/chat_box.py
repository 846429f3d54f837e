"""Several models answer the same messages side by side, live or as a page.

A front end with a kernel gets a box to type in; without one the same table is plain
HTML. All text of people and models is escaped.
"""

from collections.abc import Iterator

import ipywidgets
import pandas as pd
from IPython.display import HTML

from helpers.language import localized
from helpers.widgets.showing import show, table


def chat_view(turns: list) -> HTML:
    """The table of some turns: a row a message, a column a model.

    turns: [(message, {label: answer, ...}), ...], the same labels in every turn.
    """
    labels = list(turns[0][1]) if turns else []
    rows = [[message, *answers.values()] for message, answers in turns]
    texts = pd.DataFrame(rows, columns=[localized("message"), *labels])
    texts = texts.replace("", localized("(nothing)"))
    wide = table(texts).hide().set_table_attributes('style="width:100%"')
    return HTML(wide.to_html())


def chat(askers: dict, messages: list[str]) -> None:
    """Shows the answers to some messages, with a box for more where there is a kernel.

    askers: {label: ask}, where ask(message) returns a text or yields its pieces.
    """
    turns = [(message, last(askers, message)) for message in messages]
    show(chat_view(turns), lambda: build(askers, turns))


def build(askers: dict, turns: list) -> ipywidgets.VBox:
    """The widget of `chat`: the table, a line to type in, a button."""
    turns = list(turns)
    view = ipywidgets.HTML(chat_view(turns).data)
    line = ipywidgets.Text(placeholder=localized("a message"), layout={"width": "80%"})
    send = ipywidgets.Button(description=localized("Send"))

    def ask_all(_) -> None:
        message, line.value = line.value.strip(), ""
        if not message or send.disabled:
            return
        send.disabled = True
        turns.append((message, dict.fromkeys(askers, "")))
        try:
            for said in stream(askers, message):
                turns[-1] = (message, said)
                view.value = chat_view(turns).data
        finally:
            send.disabled = False

    send.on_click(ask_all)
    return ipywidgets.VBox([view, ipywidgets.HBox([line, send])])


def stream(askers: dict, message: str) -> Iterator[dict[str, str]]:
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
            why = f"{type(error).__name__} {(str(error).splitlines() or [''])[0]}"
            said[label] += localized("[no answer: {why}]", why=why)
        yield dict(said)


def last(askers: dict, message: str) -> dict[str, str]:
    """{label: the whole answer}."""
    return [{}, *stream(askers, message)][-1]
