"""Records of Parquet and Arrow files, of folders of `datasets`, and from the Hub.

A record's number is its row, from 1. Nothing here runs code of a data set.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from helpers import one_line
from helpers.formatting.exact import exact_datasets
from helpers.formatting.lines import Bar, DataError

# How a binary table begins: Parquet, Arrow's file and stream.
MARKS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
STATE, DICT = "state.json", "dataset_dict.json"  # what `save_to_disk` writes
HUB = re.compile(
    r"hub:/*([^@#/\\]+[/\\][^@#/\\]+)(?:[/\\]([^@#]+))?(?:@([^#]+))?(?:#(.+))?"
)
HUB_FORM = "hub:OWNER/NAME[/CONFIG][@REVISION][#SPLIT]"
ROWS = 1_000  # that are in memory at once


def holds(path: Path) -> bool:
    """Whether a path is a binary table, or one data set of `datasets`."""
    if path.is_dir():
        return (path / STATE).exists()
    try:
        with path.open("rb") as stream:
            return stream.seekable() and stream.read(6).startswith(MARKS)
    except (OSError, ValueError):  # told by who opens it to read
        return False


def iter_rows(path: Path, progress: bool) -> Iterator[tuple[int, dict]]:
    """Yields (row, record) of what `holds` knows. Raises DataError."""
    with _told(path, row := [0]):
        total, rows = _rows(path)
        for row[0], record in enumerate(_bar(rows, total, progress), start=1):
            yield row[0], record


@contextlib.contextmanager
def _told(path, row: list[int]) -> Iterator[None]:
    """Turns errors of reading into a DataError. row: [the last that was read]."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of pyarrow and datasets: each has errors of its own
        why = one_line(error, 200)
        what = f"cannot be read ({why}), expected Parquet, Arrow or a datasets folder"
        raise DataError(f"{path}:{row[0] + 1}: {what}") from None


def load_folder(path: Path):
    """What `datasets` saved in a folder: {split: Dataset} or one. Raises DataError."""
    with _told(path, [0]):
        return exact_datasets().load_from_disk(str(path))


def load_hub(name: str):
    """What a name in HUB_FORM stands for, {split: Dataset} or one. Raises DataError."""
    if (found := HUB.fullmatch(name)) is None:
        raise DataError(f"{name}:1: not the name of a data set, expected {HUB_FORM}")
    repository, config, revision, split = found.groups()
    repository = repository.replace("\\", "/")  # a Path of Windows
    load_dataset = exact_datasets().load_dataset
    try:
        return load_dataset(repository, config, split=split, revision=revision)
    except Exception as error:  # of datasets, the Hub, the network
        why = one_line(error, 200)
        raise DataError(
            f"{name}:1: cannot be loaded ({why}), expected {HUB_FORM}"
        ) from None


def iter_dataset(
    dataset, name: str, progress: bool = False
) -> Iterator[tuple[int, dict]]:
    """Yields (row, record) of a Dataset. Raises DataError, which names it."""
    with _told(name, row := [0]):
        rows = _bar(iter(dataset), len(dataset), progress)
        for row[0], record in enumerate(rows, start=1):
            yield row[0], record


def _bare(value, whole: bool = True):
    """A record as it is, the objects within it without the None that Arrow fills in."""
    if isinstance(value, dict):
        found = {k: _bare(v, False) for k, v in value.items()}
        return found if whole else {k: v for k, v in found.items() if v is not None}
    return [_bare(v, False) for v in value] if isinstance(value, list) else value


def _rows(path: Path) -> tuple[int, Iterator[dict]]:
    """(how many, the records) of a binary table; a piece of it in memory."""
    import pyarrow as pa

    if path.is_dir():
        dataset = load_folder(path)
        return len(dataset), iter(dataset)
    with path.open("rb") as stream:
        mark = stream.read(4)
    if mark == MARKS[0]:
        from pyarrow.parquet import ParquetFile

        table = ParquetFile(path, pre_buffer=False, buffer_size=2**20)
        batches = table.iter_batches(ROWS)
        return table.metadata.num_rows, (r for b in batches for r in b.to_pylist())
    opener = pa.ipc.open_file if mark == MARKS[1][:4] else pa.ipc.open_stream
    table = opener(pa.memory_map(str(path))).read_all()  # mapped, not held
    batches = table.to_batches(ROWS)
    return table.num_rows, (r for b in batches for r in b.to_pylist())


def _bar(rows: Iterator, total: int, progress: bool) -> Iterator:
    """The rows, with a progress bar over them, if that takes long."""
    return Bar(map(_bare, rows), total=total, disable=not progress, unit="row")
