"""The controls of `memory.calculator`."""

from html import escape

from helpers.models import CONFIGS

LENGTHS = [2**power for power in range(7, 18)]  # tokens, 128 to 131,072
RANKS = [4, 8, 16, 32, 64, 128, 256]
START = {"method": "qlora", "batch": 4, "length": 2048, "rank": 16}
START |= {"checkpointing": True}


def build(predict, methods, start: dict):
    """The widget: a box of controls, and the table that follows them.

    predict: `memory.predict`. methods: those to choose from. start: {"config": ...} and
    the keys of START, where the controls stand at first. A choice that raises
    ValueError, such as a length beyond the model's, shows the reason for a table.
    """
    import ipywidgets

    config = start["config"]
    models = [*CONFIGS, *([] if config in CONFIGS else [config])]
    boxes = {
        "config": ipywidgets.Dropdown(options=models, value=config),
        "method": ipywidgets.Dropdown(options=methods, value=start["method"]),
        "batch": ipywidgets.IntSlider(value=start["batch"], min=1, max=64),
        "length": _steps(LENGTHS, start["length"]),
        "rank": _steps(RANKS, start["rank"]),
        "checkpointing": ipywidgets.Checkbox(value=start["checkpointing"]),
    }
    view = ipywidgets.HTML()

    def redraw(change=None):
        choices = {name: box.value for name, box in boxes.items()}
        try:
            view.value = predict(**choices)._repr_html_()
        except ValueError as error:
            view.value = f"<div>{escape(str(error))}</div>"

    for name, box in boxes.items():
        box.description = name
        box.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*boxes.values(), view])


def _steps(values, start):
    """A slider over the values, and over the one to start from."""
    import ipywidgets

    options = sorted({*values, start})
    return ipywidgets.SelectionSlider(options=options, value=start)


def calculator(model="Llama-3.1-8B", **choices) -> None:
    """Shows a Prediction, with controls for model, method, batch, length, rank, ...

    model: where the controls start, as `predict` takes it; choices: the same for
    method, batch, length, rank and checkpointing. A run of `helpers.course`, or a front
    end without widgets, gets the starting table alone. Raises ValueError.
    """
    from IPython.display import display

    from helpers.memory.calculator import START, build

    start = START | choices
    first = predict(model, **start)
    if MARK in os.environ:
        display(first)
        return
    box = build(predict, METHODS, {"config": model} | start)
    texts = {"text/html": first._repr_html_(), "text/plain": repr(first)}
    display(live(box) | texts, raw=True)
