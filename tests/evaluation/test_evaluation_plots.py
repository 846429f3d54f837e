"""The figures of an evaluation say their numbers, axes and baseline."""

import pandas as pd

from helpers.evaluation.plots import difference_plot, heat_map, loss_bars

CONFUSION = pd.DataFrame([[9, 1], [0, 7]], index=["DQK", "QWZ"], columns=["DQK", "QWZ"])


def test_every_count_stands_in_its_square():
    [ax] = heat_map(CONFUSION, "Title").axes
    texts = {(t.get_position(), t.get_text()) for t in ax.texts}
    assert texts == {((0, 0), "9"), ((1, 0), "1"), ((0, 1), "·"), ((1, 1), "7")}
    colours = {t.get_text(): t.get_color() for t in ax.texts}
    assert colours["9"] == "white" and colours["1"] == "black"
    assert ax.get_title() == "Title" and "answered" in ax.get_xlabel()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["DQK", "QWZ"]


def test_a_difference_has_its_interval_and_a_line_at_zero():
    rows = {"difference": [0.1, 0.2], "low": [-0.1, 0.15], "high": [0.3, 0.25]}
    [ax] = difference_plot(pd.DataFrame(rows, index=[10, 400]), "Title").axes
    points, bars = ax.lines[0], ax.collections[0]
    assert list(points.get_ydata()) == [10, 20]
    ends = [[round(float(y)) for _, y in s] for s in bars.get_segments()]
    assert ends == [[-10, 30], [15, 25]]
    assert any(list(line.get_ydata()) == [0, 0] for line in ax.lines)
    assert "points" in ax.get_ylabel() and "rows" in ax.get_xlabel()


def test_losses_stand_beside_the_base():
    [ax] = loss_bars({"base": 1.5, "tuned": 2.25}, "Title", baseline=1.5).axes
    assert [bar.get_width() for bar in ax.patches] == [1.5, 2.25]
    assert {"1.50", "2.25"} <= {text.get_text() for text in ax.texts}
    assert any(list(line.get_xdata()) == [1.5, 1.5] for line in ax.lines)
