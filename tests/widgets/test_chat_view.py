"""The chat answers side by side, streams, escapes, and is a table without a kernel."""

import pytest
from nbclient import NotebookClient
from nbformat import v4

from helpers import HEADLESS
from helpers.widgets import chat_box

VIEW = "application/vnd.jupyter.widget-view+json"
EVIL = "<script>alert('x')</script>&"


def pieces(message):
    yield from ("so ", "you say ", message)


def broken(message):
    yield "I began"
    raise RuntimeError("gone <b>\nmore")


ASKERS = {"base": str.upper, "tuned": pieces}


def test_a_row_a_message_a_column_a_model():
    html = chat_box.chat_view([("hi", {"base": "1", "tuned": ""})]).data
    assert html.count("<tr>") == 2 and html.count("<td") == html.count("<th ") == 3
    heads = [html.index(f">{label}</th>") for label in ("message", "base", "tuned")]
    assert heads == sorted(heads) and "(nothing)" in html


def test_no_turn_is_an_empty_table():
    assert "<td" not in chat_box.chat_view([]).data


@pytest.mark.parametrize("where", ["message", "label", "answer"])
def test_all_text_is_escaped(where):
    texts = dict.fromkeys(("message", "label", "answer"), "x") | {where: EVIL}
    html = chat_box.chat_view(
        [(texts["message"], {texts["label"]: texts["answer"]})]
    ).data
    assert "<script" not in html and "&lt;script&gt;" in html and "&amp;" in html


def test_answers_grow_piece_by_piece():
    seen = list(chat_box.stream(ASKERS, "hi"))
    assert [said["tuned"] for said in seen if said["tuned"]][:3] == [
        "so ",
        "so you say ",
        "so you say hi",
    ]
    assert seen[0] == {"base": "HI", "tuned": ""}
    assert chat_box.last(ASKERS, "hi") == {"base": "HI", "tuned": "so you say hi"}


def test_an_asker_that_fails_does_not_silence_the_others():
    said = chat_box.last({"broken": broken, **ASKERS}, "hi")
    assert said["broken"] == "I began[no answer: RuntimeError gone <b>]"
    assert said["base"] == "HI" and said["tuned"] == "so you say hi"


def test_typing_adds_a_turn():
    box = chat_box.build(ASKERS, [("first", {"base": "1", "tuned": "2"})])
    table, (line, send) = box.children[0], box.children[1].children
    before = table.value
    line.value = "  "
    send.click()
    assert table.value == before
    line.value = EVIL
    send.click()
    assert line.value == "" and not send.disabled
    assert table.value.count("<tr>") == 3 and "<script" not in table.value.lower()


def test_the_button_works_again_after_an_error():
    box = chat_box.build({"broken": broken}, [])
    line, send = box.children[1].children
    line.value = "hi"
    send.click()
    assert not send.disabled and "no answer: RuntimeError" in box.children[0].value


def test_a_front_end_without_widgets_has_the_table(displayed, monkeypatch):
    monkeypatch.delenv(HEADLESS, raising=False)
    chat_box.chat(ASKERS, ["hi"])
    [(shown, options)] = displayed
    assert options == {"raw": True, "metadata": {"moves": True}} and VIEW in shown
    assert "so you say hi" in shown["text/html"]


def test_a_headless_run_shows_the_table_alone(displayed, monkeypatch):
    monkeypatch.setenv(HEADLESS, "a run")
    chat_box.chat(ASKERS, ["hi"])
    [(shown, _)] = displayed
    assert "so you say hi" in shown["text/html"] and VIEW not in shown


@pytest.mark.slow
@pytest.mark.parametrize("headless", [False, True])
def test_in_a_kernel(headless, monkeypatch):
    """The executed notebook holds the table, and widget state only with a widget."""
    if headless:
        monkeypatch.setenv(HEADLESS, "a run")
    else:
        monkeypatch.delenv(HEADLESS, raising=False)
    code = "from helpers.widgets import chat\nchat({'base': str.upper}, ['hi'])"
    book = v4.new_notebook(cells=[v4.new_code_cell(code)])
    NotebookClient(book, resources={"metadata": {"path": "."}}).execute()
    [output] = [o for o in book.cells[0].outputs if o.output_type == "display_data"]
    assert ">HI</td>" in output.data["text/html"]
    assert (VIEW in output.data) is not headless
    assert ("widgets" in book.metadata) is not headless
