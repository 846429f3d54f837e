"""Rows of tokens as they are trained, in one form, and what can be seen of a row."""

from collections import Counter
from collections.abc import Iterator

from helpers.formatting import IGNORED, encode
from helpers.preflight.registry import LOOKED_AT, derived


@derived
def encoded(splits, tokenizer) -> list[dict]:
    """Some training rows from first to last, whole, as their template encodes them."""
    count = len(splits["train"])
    places = {n * count // LOOKED_AT for n in range(LOOKED_AT)}  # a file may be sorted
    rows = splits["train"].select(sorted(places) if count else [])
    try:
        found = [encode(tokenizer, row) for row in rows]
    except Exception:  # a template's own; what it refuses is told where lengths are
        return []
    return [{"input_ids": ids, "labels": labels} for ids, labels in found]


@derived
def trained_rows(encoded) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of each row of a data set, a list, or batches of tensors."""
    found = []
    for part in [encoded] if hasattr(encoded, "keys") else encoded:
        ids, labels = _columns(part)
        batch = len(ids) and not isinstance(ids[0], int)
        found += zip(ids, labels, strict=True) if batch else [(ids, labels)]
    return [(ids, labels) for ids, labels in found if ids]


def last(labels: list[int]) -> int:
    """The place of the last label, -1 where there is none."""
    places = range(len(labels) - 1, -1, -1)
    return next((place for place in places if labels[place] >= 0), -1)


def after(row: tuple) -> int | None:
    """The id that follows the last label, None where the row ends with it."""
    ids, labels = row
    place = last(labels) + 1
    return ids[place] if 0 < place < len(ids) else None


def last_run(row: tuple) -> list[int]:
    """The ids of the last labels that stand side by side."""
    ids, labels = row
    end = start = last(labels) + 1
    while start and labels[start - 1] >= 0:
        start -= 1
    return ids[start:end]


def uncut(rows: list, arguments) -> Iterator[tuple]:
    """The rows that no limit has cut, as far as one can see.

    Where no max_length is known, two rows of the largest length look cut.
    """
    sizes = Counter(size(row) for row in rows)
    longest = max(sizes, default=0)
    limit = getattr(arguments, "max_length", None)
    limit = limit or (longest if sizes[longest] > 1 else longest + 1)
    return (row for row in rows if size(row) < limit)


def trains_prompt(row: tuple, header: list[int]) -> bool:
    """Whether a row's first token has a label, or the header of an answer has."""
    ids, labels = row
    if labels[0] >= 0:
        return True
    run = [i if label >= 0 else None for i, label in zip(ids, labels, strict=True)]
    size = len(header)
    places = range(len(run) - size + 1) if size else ()
    return any(run[place : place + size] == header for place in places)


def size(row: tuple) -> int:
    """Tokens up to the last label, all of them where there is none."""
    return last(row[1]) + 1 or len(row[0])


def _columns(part) -> tuple[list, list]:
    """Ids and labels of a row or a batch, as lists; labels also as TRL's masks."""
    if isinstance(part, (tuple, list)):
        return as_list(part[0]), as_list(part[1])
    ids = as_list(part["input_ids"])
    if "labels" in part:
        return ids, as_list(part["labels"])
    names = [key for key in ("completion_mask", "assistant_masks") if key in part]
    marks = zip(*(part[key] for key in names), strict=True) if names else ()
    kept = [all(mark) for mark in marks] or [True] * len(ids)
    return ids, [i if keep else IGNORED for i, keep in zip(ids, kept, strict=True)]


def as_list(values) -> list:
    """A tensor, an array or a list as a list."""
    return values.tolist() if hasattr(values, "tolist") else list(values)
