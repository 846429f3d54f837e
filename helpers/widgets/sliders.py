"""A figure that follows a slider."""

import base64
import io
from collections.abc import Callable

import ipywidgets
from matplotlib.figure import Figure

from helpers.language import localized
from helpers.plotting import described, in_the_readers_language
from helpers.widgets.showing import show


def slider(draw: Callable[..., Figure], values, start, label: str) -> None:
    """Shows draw(value), a Figure, with a slider over the values, or draw(start) alone.

    Raises ValueError where start is not one of the values.
    """
    values = list(values)
    if start not in values:
        raise ValueError(f"a slider starts at one of its values, got {start!r}")
    label, figure = localized(label), in_the_readers_language(draw(start))
    picture = base64.b64encode(png(figure)).decode("ascii")
    text = f"{described(figure)}; {label} {start}".removeprefix("; ")
    static = {"text/plain": text, "image/png": picture}
    show(static, lambda: build(draw, values, start, label))


def build(draw, values: list, start, label: str) -> ipywidgets.VBox:
    """The widget of `slider`: a box of a slider and the picture that follows it."""
    choice = ipywidgets.SelectionSlider(
        options=values, value=start, description=label, continuous_update=False
    )
    picture = ipywidgets.Image(value=png(draw(start)), format="png")

    def redraw(change: dict) -> None:
        picture.value = png(draw(change["new"]))

    choice.observe(redraw, names="value")
    # Not stretched to the width of the page, which would blur the picture.
    return ipywidgets.VBox([choice, picture], layout={"align_items": "flex-start"})


def png(figure: Figure) -> bytes:
    """A Figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    in_the_readers_language(figure).savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
