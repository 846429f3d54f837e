"""A slider redraws where somebody can move it, and is a plain figure elsewhere."""

import base64

import matplotlib.pyplot as plt
import pytest
from nbclient import NotebookClient
from nbformat import v4

from helpers.course.worker import MARK
from helpers.widgets import slider as widgets

PNG = b"\x89PNG\r\n\x1a\n"
VIEW = "application/vnd.jupyter.widget-view+json"


def draw(value):
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.bar(["value"], [value])
    plt.close(fig)
    return fig


def test_moving_the_slider_redraws_the_picture():
    box = widgets.build(draw, [1, 2, 3], 2, "rank")
    choice, picture = box.children
    assert choice.value == 2 and picture.value == widgets.png(draw(2))
    choice.value = 3
    assert picture.value == widgets.png(draw(3)) != widgets.png(draw(2))


def test_a_front_end_without_widgets_has_the_figure(displayed, monkeypatch):
    monkeypatch.delenv(MARK, raising=False)
    widgets.slider(draw, range(1, 4), 2, "rank")
    [(shown, options)] = displayed
    assert options == {"raw": True} and VIEW in shown
    assert base64.b64decode(shown["image/png"]) == widgets.png(draw(2))
    assert widgets.png(draw(2)).startswith(PNG)


def test_a_headless_run_shows_the_figure_alone(displayed, monkeypatch):
    monkeypatch.setenv(MARK, "a run")
    widgets.slider(draw, [1, 2], 1, "rank")
    [(shown, _)] = displayed
    assert shown.keys() == {"image/png", "text/plain"}
    assert base64.b64decode(shown["image/png"]) == widgets.png(draw(1))


def test_a_start_that_is_no_value_is_refused():
    with pytest.raises(ValueError, match="starts at one of its values, got 5"):
        widgets.slider(draw, [1, 2], 5, "rank")


@pytest.mark.slow
@pytest.mark.parametrize("headless", [False, True])
def test_in_a_kernel(headless, monkeypatch):
    """The executed notebook holds a picture, and widget state only with a widget."""
    if headless:
        monkeypatch.setenv(MARK, "a run")
    else:
        monkeypatch.delenv(MARK, raising=False)
    code = """
import matplotlib.pyplot as plt
from helpers.widgets import slider
def draw(value):
    fig, ax = plt.subplots()
    plt.close(fig)
    return fig
slider(draw, [1, 2], 1, "rank")
"""
    book = v4.new_notebook(cells=[v4.new_code_cell(code)])
    NotebookClient(book, resources={"metadata": {"path": "."}}).execute()
    [output] = [o for o in book.cells[0].outputs if o.output_type == "display_data"]
    assert base64.b64decode(output.data["image/png"]).startswith(PNG)
    assert (VIEW in output.data) is not headless
    assert ("widgets" in book.metadata) is not headless
