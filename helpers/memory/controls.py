"""A Prediction that follows its controls."""

from html import escape
from pathlib import Path

import ipywidgets

from helpers import UserError
from helpers.memory.prediction import METHODS, STRATEGIES, predict
from helpers.models import CONFIGS, MIXTURES
from helpers.widgets import show

LENGTHS = [2**power for power in range(7, 18)]  # tokens, 128 to 131,072
GPUS = [1, 2, 4, 8]
RANKS = [4, 8, 16, 32, 64, 128, 256]
START = {"method": "qlora", "batch": 4, "length": 2048, "rank": 16}
START |= {"checkpointing": True, "gpus": 1, "strategy": "ddp"}


def calculator(model="Llama-3.1-8B", **choices) -> None:
    """Shows a Prediction, with controls for model, method, batch, length, GPUs, ...

    model: where the controls start, as `predict` takes it; choices: the same for
    the keys of START. Where nothing can be moved, the starting table alone. Raises
    UserError.
    """
    start = {"config": model} | START | choices
    show(predict(**start), lambda: build(start))


def build(start: dict) -> ipywidgets.VBox:
    """The widget: a box of controls, and the table that follows them.

    start: {"config": ...} and the keys of START, where the controls stand at first. A
    choice that raises UserError, such as a length beyond the model's, shows the reason
    for a table.
    """
    config = start["config"]
    label = str(config)
    if not isinstance(config, str | Path):
        label = config.name_or_path or config.model_type
    models = {name: name for name in (*CONFIGS, *MIXTURES)} | {label: config}
    boxes = {
        "config": ipywidgets.Dropdown(options=models, value=config),
        "method": ipywidgets.Dropdown(options=METHODS, value=start["method"]),
        "batch": ipywidgets.IntSlider(
            value=start["batch"], min=1, max=max(64, start["batch"])
        ),
        "length": _steps(LENGTHS, start["length"]),
        "rank": _steps(RANKS, start["rank"]),
        "checkpointing": ipywidgets.Checkbox(value=start["checkpointing"]),
        "gpus": _steps(GPUS, start["gpus"]),
        "strategy": ipywidgets.Dropdown(options=STRATEGIES, value=start["strategy"]),
    }
    view = ipywidgets.HTML()

    def redraw(_=None) -> None:
        choices = {name: box.value for name, box in boxes.items()}
        try:
            view.value = predict(**start | choices)._repr_html_()
        except UserError as error:
            view.value = f"<div>{escape(str(error))}</div>"

    for name, box in boxes.items():
        box.description = name
        box.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*boxes.values(), view])


def _steps(values: list[int], start: int) -> ipywidgets.SelectionSlider:
    """A slider over the values, and over the one to start from."""
    options = sorted({*values, start})
    return ipywidgets.SelectionSlider(options=options, value=start)
