"""The token view says what is trained, in more than colour, and escapes all text."""

import re

import pytest
from IPython.display import HTML

from helpers import HEADLESS
from helpers.files import ROOT
from helpers.widgets import tokens

ROW = {"input_ids": [1, 5, 6, 7, 2, 0], "labels": [-100, -100, -100, 7, 2, -100]}
MASK = [1, 1, 1, 1, 1, 0]


class Token:
    def __init__(self, special):
        self.special = special


class Words:
    """A tokenizer of whole words, three of them special."""

    names = {0: "<pad>", 1: "<s>", 2: "</s>", 5: "<script>alert(1)</script>"}
    names |= {6: '" onmouseover="x', 7: "ok\n"}
    added_tokens_decoder = {i: Token(i < 3) for i in (0, 1, 2, 7)}

    def decode(self, ids, skip_special_tokens=True):
        assert not skip_special_tokens
        return "".join(self.names[i] for i in ids)


def test_every_token_has_its_kind():
    kinds = tokens.token_kinds(Words(), **ROW, attention_mask=MASK)
    wanted = "prompt special|prompt|prompt|trained|trained special|padding"
    assert kinds == wanted.split("|")
    assert tokens.token_kinds(Words(), **ROW)[-1] == "prompt special"


def test_text_is_escaped_wherever_it_stands():
    title = "<img src=x onerror=alert(1)>"
    html = tokens.token_view(Words(), {title: ROW})._repr_html_()
    tags = set(re.findall(r"<\s*/?\s*(\w+)", html))
    assert tags == {"div", "span", "b", "br", "wbr"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;img" in html and "&quot; onmouseover" in html
    attributes = set(re.findall(r"\s([\w-]+)=\"", html))
    assert attributes == {"style", "title"}


def test_colour_is_not_the_only_sign():
    """Without their colours, the five looks still differ."""
    kinds = [f"{kind}{more}" for kind in tokens.LOOKS for more in ("", " special")]
    looks = set()
    for kind in kinds[:-1]:  # padding is never marked as special
        style = re.search('style="([^"]*)"', tokens._span("x", kind, ""))[1]
        rules = [r for r in style.split(";") if not re.match("background|color", r)]
        looks.add(";".join(re.sub("#[0-9a-f]+", "", rule) for rule in rules))
    assert len(looks) == 5


def test_the_legend_counts():
    html = tokens.token_view(Words(), {"a": ROW | {"attention_mask": MASK}}).data
    for entry in ("prompt: 2", "trained: 1", "trained special: 1", "padding: 1"):
        assert f"> {entry} <" in html


@pytest.mark.parametrize("name", ["tiny-phi3", "tiny-llama"])
def test_pieces_join_to_the_text(name):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data" / "checkpoints" / name)
    text = "Straße, 東京 🙂 and\n  two  spaces"
    chat = [{"role": "user", "content": text}]
    ids = tokenizer.apply_chat_template(chat, return_dict=False)
    parts = tokens.pieces(tokenizer, ids)
    assert len(parts) == len(ids)
    kept = "".join(p for p in parts if "\ufffd" not in p)
    assert text in kept


def test_the_widget_follows_its_slider():
    views = [HTML(f"<b>{i}</b>") for i in range(3)]
    slider, view = tokens.build(views.__getitem__, 3).children
    assert view.value == "<b>0</b>" and slider.max == 2
    slider.value = 2
    assert view.value == "<b>2</b>"


def test_a_headless_run_gets_the_plain_view(displayed, monkeypatch):
    view = HTML("<b>0</b>")
    monkeypatch.setenv(HEADLESS, "run")
    tokens.browse(lambda i: view, 2)
    monkeypatch.delenv(HEADLESS)
    tokens.browse(lambda i: view, 2)
    (plain, options), (live, _) = displayed
    assert options == {"raw": True, "metadata": {"moves": True}}
    assert plain.keys() == {"text/html", "text/plain"}
    assert plain["text/html"] == live["text/html"] == "<b>0</b>"
    assert "application/vnd.jupyter.widget-view+json" in live
