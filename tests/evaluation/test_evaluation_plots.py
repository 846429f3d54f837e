"""The figure of an evaluation says its numbers and axes."""

import pandas as pd

from helpers.evaluation.plots import heat_map

CONFUSION = pd.DataFrame([[9, 1], [0, 7]], index=["DQK", "QWZ"], columns=["DQK", "QWZ"])


def test_every_count_stands_in_its_square():
    [ax] = heat_map(CONFUSION, "Title").axes
    texts = {(t.get_position(), t.get_text()) for t in ax.texts}
    assert texts == {((0, 0), "9"), ((1, 0), "1"), ((0, 1), "·"), ((1, 1), "7")}
    colours = {t.get_text(): t.get_color() for t in ax.texts}
    assert colours["9"] == "white" and colours["1"] == "black"
    assert ax.get_title() == "Title" and "answered" in ax.get_xlabel()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["DQK", "QWZ"]
