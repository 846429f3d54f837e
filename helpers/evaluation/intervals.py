"""95 % percentile intervals by bootstrap: of a share, and of a difference of two."""

from typing import NamedTuple

import numpy as np

RESAMPLES = 1000


class Difference(NamedTuple):
    """A difference of two shares, -1 to 1, and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether the rows cannot tell the two apart."""
        return self.low <= 0 <= self.high


def bootstrap_interval(hits, seed: int = 0) -> tuple[float, float]:
    """The interval of a share (Efron and Tibshirani 1993, chapter 13).

    hits: (rows,) of 0 and 1. Where all rows agree it has no width, few as they may be.
    """
    hits = np.asarray(hits, dtype=float)
    size = (RESAMPLES, len(hits))
    picks = np.random.default_rng(seed).integers(len(hits), size=size)
    return _middle(hits[picks].mean(axis=1))


def bootstrap_difference(differences: np.ndarray, rng: np.random.Generator):
    """The Difference of (rows,) of -1, 0 and 1; of 0 and 1 alone, their share.

    Resampling rows whose values are few is drawing how often each value comes: a
    multinomial, and many times faster.
    """
    n = len(differences)
    values, counts = np.unique(differences, return_counts=True)
    means = rng.multinomial(n, counts / n, size=RESAMPLES) @ values / n
    return Difference(float(np.mean(differences)), *_middle(means))


def _middle(means: np.ndarray) -> tuple[float, float]:
    """The ends of the middle 95 % of the resamples' means."""
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
