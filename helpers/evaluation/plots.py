"""The figures of an evaluation: which code for which, intervals by rows, losses."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.plotting import SIZE, finished

OFFSET = {"textcoords": "offset points", "fontsize": "small"}


def heat_map(table: pd.DataFrame, title: str) -> Figure:
    """The Figure of a confusion table of counts, every count written in its square.

    table: of `evaluation.confusion`.
    """
    fig, ax = plt.subplots(figsize=(5, 4), layout="constrained")
    ax.imshow(table.to_numpy(), cmap="Greys", vmin=0)
    dark = table.to_numpy().max() / 2
    for row, counts in enumerate(table.to_numpy()):
        for column, count in enumerate(counts):
            colour = "white" if count > dark else "black"
            look = {"ha": "center", "va": "center", "fontsize": "small"}
            ax.text(column, row, count or "·", color=colour, **look)
    ax.set_xticks(range(len(table.columns)), table.columns)
    ax.set_yticks(range(len(table.index)), table.index)
    ax.set(xlabel="answered code", ylabel="expected code (counts: rows)", title=title)
    plt.close(fig)
    return fig


def difference_plot(table: pd.DataFrame, title: str) -> Figure:
    """The Figure of a difference and its 95 % interval, over the number of rows.

    table: of `evaluation.difference_by_rows`.
    """
    fig, ax = plt.subplots(figsize=SIZE, layout="constrained")
    points = 100 * table
    below = points["difference"] - points["low"]
    above = points["high"] - points["difference"]
    errors = [below.clip(lower=0), above.clip(lower=0)]
    look = {"fmt": "o", "capsize": 4, "color": "black"}
    ax.errorbar(table.index, points["difference"], yerr=errors, **look)
    ax.axhline(0, color="black", linestyle=":")
    ax.annotate("no difference", (table.index[-1], 0), (0, 3), ha="right", **OFFSET)
    ax.set_xscale("log")
    ax.set_xticks(table.index, [str(n) for n in table.index])
    ax.minorticks_off()
    ax.set(xlabel="test rows", ylabel="difference (points)", title=title)
    return finished(fig, ax)


def loss_bars(losses: dict[str, float], title: str, baseline: float) -> Figure:
    """The Figure of one loss a model, nats a token, against a baseline.

    losses: {label: loss}. baseline: the loss of the base model, a dotted line.
    """
    fig, ax = plt.subplots(figsize=SIZE, layout="constrained")
    bars = ax.barh(list(losses), list(losses.values()), color="0.75", edgecolor="black")
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.axvline(baseline, color="black", linestyle=":")
    ax.invert_yaxis()
    ax.margins(x=0.12)
    label = "loss on pretraining text (nats a token); dotted: base model"
    ax.set(xlabel=label, title=title)
    return finished(fig, ax)
