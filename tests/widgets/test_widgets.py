"""A slider redraws where somebody can move it, and is a plain figure elsewhere."""

import base64

import matplotlib.pyplot as plt
import pytest
from nbclient import NotebookClient
from nbformat import v4

from helpers import HEADLESS
from helpers.widgets import show, sliders

PNG = b"\x89PNG\r\n\x1a\n"
VIEW = "application/vnd.jupyter.widget-view+json"


def draw(value):
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.bar(["value"], [value])
    plt.close(fig)
    return fig


def test_moving_the_slider_redraws_the_picture():
    box = sliders.build(draw, [1, 2, 3], 2, "rank")
    choice, picture = box.children
    assert choice.value == 2 and picture.value == sliders.png(draw(2))
    choice.value = 3
    assert picture.value == sliders.png(draw(3)) != sliders.png(draw(2))


def test_a_front_end_without_widgets_has_the_figure(displayed, monkeypatch):
    monkeypatch.delenv(HEADLESS, raising=False)
    sliders.slider(draw, range(1, 4), 2, "rank")
    [(shown, options)] = displayed
    assert options == {"raw": True, "metadata": {"moves": True}} and VIEW in shown
    assert base64.b64decode(shown["image/png"]) == sliders.png(draw(2))
    assert sliders.png(draw(2)).startswith(PNG)


def test_a_headless_run_shows_the_figure_alone(displayed, monkeypatch):
    monkeypatch.setenv(HEADLESS, "a run")
    sliders.slider(draw, [1, 2], 1, "rank")
    [(shown, _)] = displayed
    assert shown.keys() == {"image/png", "text/plain"}
    assert base64.b64decode(shown["image/png"]) == sliders.png(draw(1))


def test_a_headless_run_makes_no_widget(displayed, monkeypatch):
    monkeypatch.setenv(HEADLESS, "a run")
    show({"text/plain": "still"}, lambda: pytest.fail("a widget was made"))
    options = {"raw": True, "metadata": {"moves": True}}
    assert displayed == [({"text/plain": "still"}, options)]


def test_a_start_that_is_no_value_is_refused():
    with pytest.raises(ValueError, match="starts at one of its values, got 5"):
        sliders.slider(draw, [1, 2], 5, "rank")


@pytest.mark.slow
@pytest.mark.parametrize("headless", [False, True])
def test_in_a_kernel(headless, monkeypatch):
    """The executed notebook holds a picture, and widget state only with a widget."""
    if headless:
        monkeypatch.setenv(HEADLESS, "a run")
    else:
        monkeypatch.delenv(HEADLESS, raising=False)
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
