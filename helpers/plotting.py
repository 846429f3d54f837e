"""The figures of the course: small, labelled, and readable without colour."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from helpers.fonts import families
from helpers.language import localized

SIZE = (5, 3)  # inches
# Four looks each, then again from the first.
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
HATCHES = ("", "//", "..", "xx")


def loss_curves(runs: dict | list, title: str, baseline: float | None = None) -> Figure:
    """The Figure of training and evaluation loss, nats a token, over update steps.

    runs: `trainer.state.log_history`, or {label: log_history} for several runs. A line
        is a training loss, markers are an evaluation loss.
    baseline: the loss of the base model, a dotted line.
    """
    runs = runs if isinstance(runs, dict) else {"": runs}
    fig, ax = plt.subplots(figsize=SIZE, layout="constrained")
    for i, (label, history) in enumerate(runs.items()):
        style, marker, color = STYLES[i % 4], MARKERS[i % 4], f"C{i}"
        steps, losses = _series(history, "loss")
        name = drawable("{label} training", label=label).strip()
        ax.plot(steps, losses, style, color=color, label=name)
        steps, losses = _series(history, "eval_loss")
        if steps:
            name = drawable("{label} evaluation", label=label).strip()
            ax.plot(steps, losses, marker, color=color, label=name)
    if baseline is not None:
        ax.axhline(baseline, color="black", linestyle=":", label="base model")
    ax.set(xlabel="update step", ylabel="loss (nats a token)", title=title)
    ax.set_ylim(bottom=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return _with_legend(fig, ax)


def before_after(reports: dict, title: str, chance: float | None = None) -> Figure:
    """The Figure of the share of right answers by metric, with 95 % intervals.

    reports: {label: evaluation.Report}, the baseline first; bars of one metric stand
        side by side.
    chance: the share that guessing would get, 0 to 1, a dotted line.
    """
    fig, ax = plt.subplots(figsize=SIZE, layout="constrained")
    width = 0.8 / len(reports)
    names = list(next(iter(reports.values())).intervals)
    for place, (label, report) in enumerate(reports.items()):
        x = [i + (place - (len(reports) - 1) / 2) * width for i in range(len(names))]
        look = {"hatch": HATCHES[place % 4], "edgecolor": "black"}
        look |= {"capsize": 2, "label": label}
        shares = report.metrics()
        heights, errors = _in_percent((shares[n], *report.intervals[n]) for n in names)
        ax.bar(x, heights, width, yerr=errors, **look)
    if chance is not None:
        ax.axhline(100 * chance, color="black", linestyle=":", label="chance")
    ax.set(ylabel="rows right (%)", ylim=(0, 105), title=title)
    labels = [name.replace("_", " ") for name in names]
    ax.set_xticks(range(len(names)), labels, rotation=30, ha="right")
    return _with_legend(fig, ax)


def learning_curve(points: dict, title: str, rivals: dict | None = None) -> Figure:
    """The Figure of the share of right answers over training rows, a log scale.

    points: {rows: (share, low, high)}, 0 to 1. rivals: {label: share}, each a
        horizontal line: what is to be had without training.
    """
    fig, ax = plt.subplots(figsize=SIZE, layout="constrained")
    heights, reach = _in_percent(points.values())
    ax.errorbar(list(points), heights, reach, fmt="-o", capsize=3, label="trained")
    for place, (label, level) in enumerate((rivals or {}).items()):
        style = STYLES[(place + 1) % 4]
        ax.axhline(100 * level, color="black", linestyle=style, label=label)
    ax.set(xlabel="training rows", ylabel="rows right (%)", title=title)
    ax.set(xscale="log", ylim=(0, 105))
    ax.set_xticks(list(points), [f"{rows:,}" for rows in points], minor=False)
    ax.minorticks_off()
    return _with_legend(fig, ax)


def heat_map(table: pd.DataFrame, title: str) -> Figure:
    """The Figure of an `evaluation.confusion`, every count written in its square."""
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
    return in_the_readers_language(fig)


def curves(
    lines: dict, title: str, xlabel: str, ylabel: str, mark: int | None = None
) -> Figure:
    """The Figure of rows of numbers over their places, 0, 1, 2, ...

    lines: {label: numbers}; mark: a place where a dot stands on the first line.
    """
    fig, ax = plt.subplots(figsize=SIZE, layout="constrained")
    for i, (label, values) in enumerate(lines.items()):
        ax.plot(values, STYLES[i % 4], label=label)
    if mark is not None:
        ax.plot([mark], [next(iter(lines.values()))[mark]], "o", color="black")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, ylim=(0, None))
    return _with_legend(fig, ax)


def _in_percent(points) -> tuple[np.ndarray, np.ndarray]:
    """(n,) shares of (share, low, high), 0 to 1; (2, n) how far low and high reach."""
    share, low, high = 100 * np.array(list(points)).T
    # The mean may miss its own percentile interval by a rounding error.
    return share, np.clip([share - low, high - share], 0, None)


def _series(history: list[dict], key: str) -> tuple[list, list]:
    """(steps, values) of the entries of a log history that have a key."""
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def described(fig: Figure) -> str:
    """What a Figure shows, in words: its titles, and what its axes mean."""
    texts = [fig.get_suptitle()]
    for ax in fig.axes:
        axes = {"x": ax.get_xlabel(), "y": ax.get_ylabel()}
        texts += [ax.get_title(), *(f"{k}: {v}" for k, v in axes.items() if v)]
    return " ".join("; ".join(text for text in texts if text).split())


def _in_words(fig: Figure, printer, cycle: bool) -> None:
    """A figure as plain text, for those who cannot see it."""
    printer.text(described(fig))


Figure._repr_pretty_ = _in_words  # what IPython writes beside the picture


def _with_legend(fig: Figure, ax: Axes) -> Figure:
    """The figure with its legend, finished."""
    fig.legend(loc="outside lower center", ncols=3, fontsize="small")
    return finished(fig, ax)


def finished(fig: Figure, ax: Axes) -> Figure:
    """The figure without its upper and right edge, in the reader's language, closed."""
    ax.spines[["top", "right"]].set_visible(False)
    plt.close(fig)  # a notebook then shows it once, as a value
    return in_the_readers_language(fig)


def in_the_readers_language(fig: Figure) -> Figure:
    """The figure with its titles, axes and legends as the catalogue has them.

    What no font of this machine can draw stays English.
    """
    for text in fig.findobj(Text):
        text.set_text(drawable(text.get_text()))
        text.set_fontfamily(families(text.get_text()) or text.get_fontfamily())
    return fig


def drawable(english: str, **values) -> str:
    """As `localized`; English where no font of this machine has the letters."""
    said = localized(english, **values)
    return said if families(said) else english.format(**values) if values else english
