"""The figures of a lesson: stored by its last cell, read from the executed notebook."""

import json

MIME = "application/vnd.lora-course.figures+json"


def record(lesson: str, **figures) -> None:
    """Shows a lesson's measured figures and stores them in the executed notebook.

    `lesson` is the notebook's name without suffix. A figure is a number, string,
    bool, None, or a list or dictionary of them; numpy and torch scalars become
    Python numbers. Raises ValueError for NaN and infinity, TypeError for others.
    """
    from IPython.display import display

    clean = {name: _plain(name, value) for name, value in figures.items()}
    text = "\n".join([lesson, *(f"  {line}" for line in figure_lines(clean))])
    # Notebook files sort the keys of an object, hence the list of names.
    payload = {"lesson": lesson, "names": list(clean), "figures": clean}
    display({MIME: payload, "text/plain": text}, raw=True)


def _plain(name: str, value):
    """`value` as JSON gives it back."""

    def scalar(item):
        if hasattr(item, "item"):
            return item.item()
        raise TypeError(f"figure {name!r} is a {type(item).__name__}, not a number")

    try:
        return json.loads(json.dumps(value, allow_nan=False, default=scalar))
    except ValueError as error:
        raise ValueError(f"figure {name!r} is not a finite number: {value}") from error


def read_figures(notebook_path) -> dict:
    """The figures recorded in an executed notebook, {} if there are none."""
    import nbformat

    figures = {}
    for cell in nbformat.read(notebook_path, as_version=4).cells:
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(MIME)
            if found:
                figures = {name: found["figures"][name] for name in found["names"]}
    return figures


def figure_lines(figures: dict) -> list[str]:
    """One line a figure, names padded to one width; of a dictionary its keys."""
    width = max(map(len, figures), default=0)
    shown = {n: f"{v:.4g}" if type(v) is float else v for n, v in figures.items()}
    shown |= {n: "; ".join(v) for n, v in figures.items() if isinstance(v, dict)}
    return [f"{name:<{width}}  {value}" for name, value in shown.items()]
