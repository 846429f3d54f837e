"""The tokens of an example as HTML: what is trained, prompt, special, padding.

Colour is never the only sign: trained tokens are bold and underlined, special ones
framed, padding is struck through; a legend counts them. All text of data and models is
escaped.
"""

import os
from collections import Counter
from collections.abc import Callable
from html import escape

import ipywidgets
from IPython.display import HTML

from helpers.formatting import IGNORED
from helpers.language import localized
from helpers.widgets.showing import show

NEEDED = ("input_ids", "labels", "attention_mask")
LOOKS = {
    "prompt": "margin:1px;background:#eceff1;color:#37474f;",
    "trained": "margin:1px;background:#c8e6c9;color:#1b5e20;font-weight:bold;"
    "border-bottom:3px solid #1b5e20;",
    "padding": "margin:1px;background:#ffffff;color:#6d6d6d;"
    "text-decoration:line-through;",
}
FRAME = "outline:1px solid currentColor;outline-offset:-1px;"
LINE = "font-family:monospace;line-height:2;white-space:pre-wrap;"


def token_kinds(tokenizer, input_ids, labels, attention_mask=None) -> list[str]:
    """What every token is: "prompt", "trained" or "padding".

    " special" follows where it is one of the tokenizer's special tokens.
    attention_mask: 0 for padding; None where there is none.
    """
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    mask = [1] * len(input_ids) if attention_mask is None else list(attention_mask)
    kinds = []
    for token, label, seen in zip(input_ids, labels, mask, strict=True):
        kind = "prompt" if label == IGNORED else "trained"
        kind = kind if seen else "padding"
        kinds.append(f"{kind} special" if int(token) in special and seen else kind)
    return kinds


def token_view(tokenizer, rows: dict) -> HTML:
    """The view of rows of tokens, each below its title.

    rows: {title: {"input_ids": [...], "labels": [...], "attention_mask": [...]}}, the
        last only where there is padding. Lists or tensors of one dimension.
    """
    parts = []
    for title, row in rows.items():
        row = {key: _plain(row[key]) for key in NEEDED if key in row}
        kinds = token_kinds(tokenizer, **row)
        texts = pieces(tokenizer, row["input_ids"])
        spans = [
            _span(text, kind, f"id {token}, label {label}")
            for text, kind, token, label in zip(
                texts, kinds, row["input_ids"], row["labels"], strict=True
            )
        ]
        head = f"<div><b>{escape(title)}</b> {_legend(kinds)}</div>"
        parts.append(f'{head}<div style="{LINE}">{"".join(spans)}</div>')
    return HTML(f"<div>{'<br>'.join(parts)}</div>")


def browse(draw: Callable[[int], HTML], count: int) -> None:
    """Shows draw(i), a `token_view`, with a slider over count of them, or draw(0)."""
    show(draw(0), lambda: build(draw, count))


def build(draw: Callable[[int], HTML], count: int) -> ipywidgets.VBox:
    """The widget of `browse`: a slider, and the view that follows it."""
    label = localized("example")
    choice = ipywidgets.IntSlider(max=count - 1, description=label)
    view = ipywidgets.HTML(draw(0).data)

    def redraw(change: dict) -> None:
        view.value = draw(change["new"]).data

    choice.observe(redraw, names="value")
    return ipywidgets.VBox([choice, view])


def pieces(tokenizer, ids) -> list[str]:
    """The text that every token adds; together they are the decoded whole.

    Tokens are decoded with all before them: one alone would lose its leading space
    (SentencePiece), or be a part of a character, which then appears as U+FFFD.
    """
    texts, before = [], ""
    for end in range(1, len(ids) + 1):
        whole = tokenizer.decode(ids[:end], skip_special_tokens=False)
        texts.append(whole[len(os.path.commonprefix([before, whole])) :])
        before = whole
    return texts


def _plain(values) -> list[int]:
    """A list of a list or tensor."""
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _span(text: str, kind: str, tip: str) -> str:
    """One token; a line break is shown as an arrow and made."""
    look = LOOKS[kind.split()[0]] + (FRAME if kind.endswith("special") else "")
    shown = escape(text).replace("\n", "↵")
    breaks = "<br>" if "\n" in text else ""
    return f'<span style="{look}" title="{escape(tip)}">{shown}</span>{breaks}<wbr>'


def _legend(kinds: list[str]) -> str:
    """How each kind looks, and how many tokens are of it."""
    counts = Counter(kinds)
    names = {"prompt": localized("prompt"), "trained": localized("trained")}
    names |= {"prompt special": localized("prompt special")}
    names |= {"trained special": localized("trained special")}
    names |= {"padding": localized("padding")}
    order = [f"{kind}{more}" for kind in LOOKS for more in ("", " special")]
    looks = [
        _span(f" {names[k]}: {counts[k]} ", k, names[k]) for k in order if counts[k]
    ]
    return f'<span style="{LINE}">{" ".join(looks)}</span>'
