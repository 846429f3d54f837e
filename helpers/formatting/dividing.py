"""Which rows a split gets: parts of a file that stay whole, and none that leaks."""

from array import array

import numpy as np


def take(parts: array, sizes: list[int], room: int, most: int) -> tuple[array, array]:
    """(the first parts that fit the room, one at least, so many at most; the rest).

    sizes: the rows of each. Where none fits, the smallest is taken: the rest has more.
    """
    taken, rest = array("q"), array("q")
    for part, size in zip(parts, sizes, strict=True):
        fits = size <= room and len(taken) < most
        room -= size * fits
        (taken if fits else rest).append(part)
    if not taken:
        smallest = min(range(len(rest)), key=sizes.__getitem__)
        taken.append(rest.pop(smallest))
    return taken, rest


def without_shared(
    places: dict[str, list[int]], asked: np.ndarray, stays: np.ndarray
) -> dict[str, list[int]]:
    """The rows of each split, but for those whose prompt an earlier split has.

    asked: a number for the prompt of every row. stays: which rows stay all the same.
    """
    found, known = {}, np.array([], asked.dtype)
    for split, rows in places.items():
        own = asked[rows]
        kept = stays[rows] | ~np.isin(own, known)
        found[split] = np.array(rows)[kept].tolist()
        known = np.union1d(known, own)
    return found
