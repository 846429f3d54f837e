"""Figures: labelled, with their baselines, and told apart without colour."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.core import pylabtools
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from helpers import plotting
from helpers.evaluation.scoring import score

HISTORY = [
    {"loss": 3.0, "step": 5},
    {"loss": 1.0, "step": 10},
    {"eval_loss": 2.0, "step": 10},
    {"train_runtime": 1.0, "step": 10},
]
TEXT = json.dumps({"queue": "QWZ", "order": "G1"})
WRONG = json.dumps({"queue": "QWZ", "order": "G2"})
BASE = score([TEXT] * 10, ["?"] * 10)
TUNED = score([TEXT] * 10, [TEXT] * 8 + [WRONG] * 2, stopped=[True] * 10)


def legend(figure):
    """The texts of a figure's legend."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_loss_curves_of_one_run():
    figure = plotting.loss_curves(HISTORY, "Loss falls", baseline=3.2)
    (ax,) = figure.axes
    train, evaluation, baseline = ax.get_lines()
    assert train.get_xydata().tolist() == [[5, 3], [10, 1]]
    assert evaluation.get_xydata().tolist() == [[10, 2]]
    assert set(baseline.get_ydata()) == {3.2}
    assert (ax.get_xlabel(), ax.get_title()) == ("update step", "Loss falls")
    assert ax.get_ylabel() == "loss (nats a token)"
    assert legend(figure) == ["training", "evaluation", "base model"]


def test_several_runs_differ_in_more_than_colour():
    runs = {"lr 0": HISTORY, "lr 2e-3": HISTORY}
    lines = plotting.loss_curves(runs, "Two runs").axes[0].get_lines()
    assert lines[0].get_linestyle() != lines[2].get_linestyle()
    assert lines[1].get_marker() != lines[3].get_marker()


def test_a_run_without_evaluation_has_no_markers():
    figure = plotting.loss_curves(HISTORY[:2], "No evaluation")
    assert legend(figure) == ["training"]


def test_curves_have_a_mark_on_the_first_line():
    lines = {"change": [1.0, 0.5, 0.0], "random": [1.0, 0.9, 0.0]}
    figure = plotting.curves(lines, "Half is lost", "rank", "share", mark=1)
    (ax,) = figure.axes
    change, random, dot = ax.get_lines()
    assert change.get_ydata().tolist() == lines["change"]
    assert change.get_linestyle() != random.get_linestyle()
    assert dot.get_xydata().tolist() == [[1, 0.5]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rank", "share")
    assert legend(figure) == ["change", "random"]


def test_before_after_has_bars_intervals_and_chance():
    reports = {"base": BASE, "tuned": TUNED}
    figure = plotting.before_after(reports, "It learnt the format", chance=0.1)
    (ax,) = figure.axes
    base, tuned = (c for c in ax.containers if hasattr(c, "patches"))
    heights = [bar.get_height() for bar in tuned.patches]
    assert heights == pytest.approx([80, 100, 80, 100])
    assert [bar.get_height() for bar in base.patches] == [0, 0, 0, 0]
    assert base.patches[0].get_hatch() != tuned.patches[0].get_hatch()
    segments = tuned.errorbar.lines[2][0].get_segments()
    low, high = TUNED.intervals["exact_match"]
    assert segments[0][:, 1] == pytest.approx([100 * low, 100 * high])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["exact match", "queue", "order", "valid json"]
    assert legend(figure) == ["chance", "base", "tuned"]
    assert (ax.get_ylabel(), ax.get_title()) == (
        "rows right (%)",
        "It learnt the format",
    )


def test_a_figure_is_closed_so_that_a_notebook_shows_it_once(tmp_path):
    figure = plotting.before_after({"base": BASE}, "One")
    assert not plt.fignum_exists(getattr(figure, "number", -1))
    assert tuple(figure.get_size_inches()) == plotting.SIZE
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_learning_curve_has_its_intervals_and_rivals():
    points = {25: (0.4, 0.3, 0.5), 100: (0.8, 0.7, 0.85)}
    figure = plotting.learning_curve(points, "More rows", {"copier": 0.5})
    (ax,) = figure.axes
    line, *_, rival = ax.get_lines()
    assert line.get_xydata().tolist() == [[25, 40], [100, 80]]
    [bars] = [c for c in ax.collections]
    ends = [sorted(y for _, y in bar.tolist()) for bar in bars.get_segments()]
    assert ends == [pytest.approx([30, 50]), pytest.approx([70, 85])]
    assert set(rival.get_ydata()) == {50} and legend(figure) == ["copier", "trained"]
    assert ax.get_xscale() == "log" and ax.get_ylabel() == "rows right (%)"


def test_a_figure_is_described_by_its_titles_and_axes():
    figure = plotting.loss_curves(HISTORY, "Loss falls")
    words = "Loss falls; x: update step; y: loss (nats a token)"
    assert plotting.described(figure) == words
    assert plotting.described(plt.figure()) == ""
    plt.close("all")


def test_a_run_of_the_course_tells_a_figure_in_words(monkeypatch):
    settings = Config()
    settings.HistoryManager.enabled = False
    shell = InteractiveShell(config=settings)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    pylabtools.select_figure_formats(shell, {"png"})  # as the first figure does
    shown, _ = shell.display_formatter.format(
        plotting.curves({"a": [1]}, "T", "X", "Y")
    )
    assert shown["text/plain"] == "T; x: X; y: Y" and shown["image/png"]


def test_every_count_stands_in_its_square():
    codes = ["DQK", "QWZ"]
    confusion = pd.DataFrame([[9, 1], [0, 7]], codes, codes)
    [ax] = plotting.heat_map(confusion, "Title").axes
    texts = {(t.get_position(), t.get_text()) for t in ax.texts}
    assert texts == {((0, 0), "9"), ((1, 0), "1"), ((0, 1), "·"), ((1, 1), "7")}
    colours = {t.get_text(): t.get_color() for t in ax.texts}
    assert colours["9"] == "white" and colours["1"] == "black"
    assert ax.get_title() == "Title" and "answered" in ax.get_xlabel()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["DQK", "QWZ"]
