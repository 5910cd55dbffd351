"""The values of one tensor over many calls: exact extremes, and a histogram that merges exactly.

The bins lie symmetrically around 0 and their limit is a power of two. So a wider histogram's bins
are whole runs of a narrower one's, and the order in which calls are added changes nothing.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array, Float64Array

# On each side of 0: sixteen or more for each of the 127 steps of int8.
BINS = 4096
# Of a tensor that is 0 throughout; 2^-64 is far below any value that matters.
_LEAST_EXPONENT = -64

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values of one tensor. `low` and `high` are the exact minimum and maximum of all of them.

    `counts` [2 * BINS] int64 cover [-limit, limit] in equal bins; bin BINS begins at 0 and holds
    the zeros. They may be of an even sample of the values only.
    """

    low: float
    high: float
    limit: float
    counts: Counts

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    @property
    def centers(self) -> Float64Array:
        """The middles of the bins, [2 * BINS] float64."""
        return np.arange(0.5 - BINS, BINS, dtype=np.float64) * (self.limit / BINS)

    @property
    def magnitudes(self) -> Counts:
        """How many magnitudes are in each bin of [0, limit], [BINS] int64."""
        folded: Counts = self.counts[BINS:] + self.counts[BINS - 1 :: -1]
        return folded


def histogram(
    values: Float32Array, low: float | None = None, high: float | None = None
) -> Histogram:
    """Count finite values [...], one or more.

    `low`, `high`: the extremes where `values` are only a sample. Raises ValueError where a value is
    NaN or infinite.
    """
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"values from {low} to {high} are not finite")
    limit = _limit(max(abs(low), abs(high)))
    # A power of two, so that the product is exact and stays below BINS.
    bins = np.floor(values.ravel() * np.float32(BINS / limit)).astype(np.int32) + BINS
    return Histogram(low, high, limit, np.bincount(bins, minlength=2 * BINS).astype(np.int64))


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """The histogram of the values of all, one or more."""
    return reduce(_merge, histograms)


def _merge(first: Histogram, second: Histogram) -> Histogram:
    limit = max(first.limit, second.limit)
    counts = _widened(first, limit) + _widened(second, limit)
    return Histogram(min(first.low, second.low), max(first.high, second.high), limit, counts)


def _limit(largest: float) -> float:
    """The power of two next above a magnitude."""
    exponent = math.frexp(largest)[1] if largest else _LEAST_EXPONENT
    return math.ldexp(1.0, max(exponent, _LEAST_EXPONENT))


def _widened(histogram: Histogram, limit: float) -> Counts:
    """The counts in the bins of a histogram with this limit, which is no smaller."""
    factor = int(min(limit / histogram.limit, BINS))
    if factor == 1:
        return histogram.counts
    counts = np.zeros_like(histogram.counts)
    half = BINS // factor
    counts[BINS - half : BINS + half] = histogram.counts.reshape(-1, factor).sum(axis=1)
    return counts
