"""The cells of a lesson, taken out of its notebook and run."""

from tests.house import gates


def sources(stem):
    """{id: source} of a lesson's cells, magics left out."""
    path = gates.ROOT / "notebooks" / f"{stem}.ipynb"
    return {cell.id: gates.python(cell.source) for _, cell in gates.cells(path)}


def run(sources, space, *names):
    """The space, after these cells were executed in it."""
    for name in names:
        exec(sources[name], space)
    return space
