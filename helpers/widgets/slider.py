"""Controls of the notebooks, which are plain figures where nobody can move them."""

import base64
import io
import os

from helpers.course import MARK


def slider(draw, values, start, label: str) -> None:
    """Shows draw(value), a Figure, with a slider over the values.

    A run of `helpers.course` gets draw(start) alone, so that no widget state enters the
    executed notebook. A front end without widgets shows that same figure.
    Raises ValueError where start is not one of the values.
    """
    from IPython.display import display

    values = list(values)
    if start not in values:
        raise ValueError(f"a slider starts at one of its values, got {start!r}")
    shown = {"text/plain": f"{label} {start}"}
    if MARK not in os.environ:
        shown |= live(build(draw, values, start, label))
    shown["image/png"] = base64.b64encode(png(draw(start))).decode("ascii")
    display(shown, raw=True)


def build(draw, values, start, label: str):
    """The widget of `slider`: a box of a slider and the picture that follows it."""
    import ipywidgets

    choice = ipywidgets.SelectionSlider(
        options=values, value=start, description=label, continuous_update=False
    )
    picture = ipywidgets.Image(value=png(draw(start)), format="png")

    def redraw(change):
        picture.value = png(draw(change["new"]))

    choice.observe(redraw, names="value")
    # Not stretched to the width of the page, which would blur the picture.
    return ipywidgets.VBox([choice, picture], layout={"align_items": "flex-start"})


def live(widget) -> dict:
    """What shows a widget that can be moved, as {MIME type: data}.

    A method of ipywidgets 8 gives the same; version 7, which Colab has, lacks it.
    """
    reference = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    view = "application/vnd.jupyter.widget-view+json"
    return {"text/plain": repr(widget)[:110], view: reference}


def png(figure) -> bytes:
    """A Figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
