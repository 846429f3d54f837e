"""The ledger as plots: accuracy, seconds and memory by lesson, profile and machine."""

import matplotlib as mpl
from matplotlib.figure import Figure

from helpers.plotting import HATCHES, SIZE

BEFORE, AFTER = "exact match before", "after"
# A measured quantity, as README names it: (value of a ledger entry, unit).
COSTS = {
    "seconds": (lambda entry: entry["seconds"], ""),
    "peak memory": (lambda entry: entry["peak_rss_mib"], " MiB"),
}


def draw(entries, phrases, folder):
    """Write the plots of a ledger into folder; return [(file name, its text)].

    entries: `ledger.read_ledger`; phrases: {English label: translated label}. The text
    says what a reader who does not see the plot would read off it.
    """
    say = lambda label: phrases.get(label) or label  # noqa: E731
    named = [(_title(entry, say), entry) for entry in entries]
    shares = f"{say('exact match')} (%)"
    plots = [_plot("accuracy", _accuracy(named, say), say, "%", folder, shares)]
    for label, (value, unit) in COSTS.items():
        series = {}
        for title, entry in named:
            series.setdefault(title, {})[entry["lesson"][:2]] = value(entry)
        name = label.replace(" ", "-")
        heading = f"{say(label)}{unit and f' ({unit.strip()})'}"
        plots.append(_plot(name, series, say, unit, folder, heading))
    return [plot for plot in plots if plot]


def _title(entry, say):
    """Return a series' name: the profile and the machine of an entry."""
    return f"{entry['profile']}, {say(entry['machine']['device'])}"


def _accuracy(named, say):
    """Return {series: {lesson: percent right}} before and after fine-tuning."""
    series = {}
    for title, entry in named:
        for label, key in ((BEFORE, "base"), (AFTER, "tuned")):
            share = entry["figures"].get(f"{key}_exact_match")
            if share is not None:
                bars = series.setdefault(f"{say(label)} ({title})", {})
                bars[entry["lesson"][:2]] = 100 * share
    return series


def _plot(name, series, say, unit, folder, heading):
    """Write one plot of bars; return (file name, text), or None without a bar."""
    lessons = sorted({lesson for bars in series.values() for lesson in bars})
    if not lessons:
        return None
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for place, (label, bars) in enumerate(series.items()):
        x = [lessons.index(n) + (place - (len(series) - 1) / 2) * width for n in bars]
        look = {"hatch": HATCHES[place % len(HATCHES)], "edgecolor": "black"}
        axes.bar(x, bars.values(), width, label=label, **look)
    axes.set_xticks(range(len(lessons)), lessons)
    axes.set(xlabel=say("lesson"), ylabel=heading)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return f"{name}.svg", _text(series, unit)


def _text(series, unit):
    """Return the values of a plot as a text."""
    return ". ".join(
        f"{label}: " + ", ".join(f"{n} {value:.0f}{unit}" for n, value in bars.items())
        for label, bars in series.items()
    )
