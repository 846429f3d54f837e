"""The figure of an evaluation: which code is taken for which."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure


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
    return fig
