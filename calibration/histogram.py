"""Histograms of the values of one tensor over many calls, with exact extremes and exact merging.

The bins are symmetric around 0 and their limit is a power of two. So each bin of a wider histogram
is a union of bins of a narrower one, and the order of calls does not matter.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array, Float64Array
from frcrn_export.runtime.bundle.manifest import CalibrationMethod

# On each side of 0: sixteen or more for each of the 127 steps of int8.
BINS = 4096
# For a tensor of zeros; 2^-64 is far below any relevant value.
_LEAST_EXPONENT = -64

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values of one tensor. `low` and `high` are the exact minimum and maximum of all of them.

    `counts` [2 * BINS] int64 cover [-limit, limit] in equal bins; bin BINS begins at 0 and holds
    the zeros. They may count an even sample of the values only.
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
        """The count of magnitudes in each bin of [0, limit], [BINS] int64."""
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
    """The histogram of all values of one or more histograms."""
    return reduce(_merge, histograms)


def _merge(first: Histogram, second: Histogram) -> Histogram:
    limit = max(first.limit, second.limit)
    counts = _widened(first, limit) + _widened(second, limit)
    return Histogram(min(first.low, second.low), max(first.high, second.high), limit, counts)


def _limit(largest: float) -> float:
    """The next power of two above a magnitude."""
    exponent = math.frexp(largest)[1] if largest else _LEAST_EXPONENT
    return math.ldexp(1.0, max(exponent, _LEAST_EXPONENT))


def _widened(histogram: Histogram, limit: float) -> Counts:
    """The counts in the bins of a histogram with this larger or equal limit."""
    factor = int(min(limit / histogram.limit, BINS))
    if factor == 1:
        return histogram.counts
    counts = np.zeros_like(histogram.counts)
    half = BINS // factor
    counts[BINS - half : BINS + half] = histogram.counts.reshape(-1, factor).sum(axis=1)
    return counts


CLIPPED_SHARE = 1e-4  # of the values, clipped by `percentile`

# Steps of int8 on each side of 0, and of uint8 in all.
_SIGNED_STEPS, _UNSIGNED_STEPS = 127, 255
# The search of `mse`: ranges down to 1/64 of the largest value, sixteen per octave.
_SHRINKS = 2.0 ** -(np.arange(6 * 16 + 1) / 16)
# The search of `entropy`: number of ranges, and bins of magnitudes, as published.
_ENTROPY_RANGES, _ENTROPY_BINS = 240, 2048
# For a bin that the quantized distribution leaves empty; 0 would give an infinite divergence.
_LEAST_PROBABILITY = 1e-9


def value_range(
    histogram: Histogram, method: CalibrationMethod, symmetric: bool
) -> tuple[float, float]:
    """The range (low, high) for 8 bits, which contains 0 and is not empty.

    `symmetric`: (-t, t), for int8 with zero point 0; else for uint8 with any zero point. Never
    wider than the values; (-1, 1) or (0, 1) where all are 0.
    """
    if histogram.largest == 0.0:
        return (-1.0 if symmetric else 0.0), 1.0
    low, high = _METHODS[method](histogram, symmetric)
    return float(low) + 0.0, float(high)  # no -0.0


def _minmax(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    return _within(histogram, symmetric, histogram.largest, histogram.largest)


def _percentile(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    if symmetric:
        below = above = _quantile(histogram.magnitudes, histogram, CLIPPED_SHARE)
    else:
        total = histogram.counts.sum()
        sides = histogram.counts[BINS - 1 :: -1], histogram.counts[BINS:]  # outwards from 0
        below, above = (_quantile(s, histogram, CLIPPED_SHARE / 2, total) for s in sides)
    return _within(histogram, symmetric, below, above)


def _quantile(
    counts: npt.NDArray[np.int64], histogram: Histogram, share: float, total: int | None = None
) -> float:
    """The edge of bins [BINS] of magnitudes above which at most `share` of `total` values lie."""
    beyond = np.cumsum(counts[::-1])[::-1]  # in this bin or a later one
    clipped = beyond <= share * (counts.sum() if total is None else total)
    kept = int(np.argmax(clipped)) if clipped.any() else BINS
    return max(kept, 1) * histogram.limit / BINS


def _entropy(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    counts = histogram.magnitudes.reshape(_ENTROPY_BINS, -1).sum(axis=1).astype(np.float64)
    counts[0] = counts[1]  # zeros lose nothing, however many a ReLU makes
    width = histogram.limit / _ENTROPY_BINS
    used = min(int(histogram.largest / width) + 1, _ENTROPY_BINS)
    # Steps of one side: half of all, or more where the other side needs fewer.
    span = 2 * histogram.largest if symmetric else _span(histogram)
    steps = int((_UNSIGNED_STEPS + 1) * histogram.largest / span)
    if used <= steps:
        return _minmax(histogram, symmetric)
    candidates = np.unique(np.linspace(steps, used, _ENTROPY_RANGES).astype(int))
    divergences = [_divergence(counts, kept, steps) for kept in candidates]
    threshold = float(candidates[int(np.argmin(divergences))] * width)
    return _within(histogram, symmetric, threshold, threshold)


def _divergence(counts: Float64Array, kept: int, steps: int) -> float:
    """KL divergence of clipped magnitudes from their `kept` bins quantized to `steps` levels."""
    inside = counts[:kept]
    starts = np.arange(steps) * kept // steps
    # The values of a level spread evenly over its non-empty bins.
    filled = inside > 0
    level_sums = np.add.reduceat(inside, starts)
    level_bins = np.add.reduceat(filled.astype(np.float64), starts)
    sizes = np.diff(starts, append=kept)
    quantized = np.repeat(level_sums / np.maximum(level_bins, 1), sizes) * filled
    true = inside.copy()
    true[-1] += counts[kept:].sum()
    p, q = true / true.sum(), quantized / max(quantized.sum(), 1.0)
    here = p > 0
    ratio = p[here] / np.maximum(q[here], _LEAST_PROBABILITY)
    return float(np.sum(p[here] * np.log(ratio)))


def _mse(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    used = histogram.counts > 0
    values, counts = histogram.centers[used], histogram.counts[used].astype(np.float64)
    if symmetric:
        ranges = [(-t, t) for t in histogram.largest * _SHRINKS]
        return _least_error(values, counts, ranges, 2 * _SIGNED_STEPS)
    # Both ends together, then one at a time until neither changes.
    low, high = _minmax(histogram, symmetric)
    ranges = [(low * shrink, high * shrink) for shrink in _SHRINKS]
    best = _least_error(values, counts, ranges, _UNSIGNED_STEPS)
    while True:
        before = best
        for ranges in (
            [(low * shrink, best[1]) for shrink in _SHRINKS],
            [(best[0], high * shrink) for shrink in _SHRINKS],
        ):
            best = _least_error(values, counts, ranges, _UNSIGNED_STEPS)
        if best == before:
            return best


def _least_error(
    values: Float64Array, counts: Float64Array, ranges: list[tuple[float, float]], steps: int
) -> tuple[float, float]:
    """The first of the ranges with the least squared error of `counts` values each."""
    errors = []
    for low, high in ranges:  # all equal where an end is fixed
        step = (high - low) / steps
        levels = np.clip(np.rint(values / step), np.rint(low / step), np.rint(high / step))
        errors.append(float(np.dot(counts, (values - levels * step) ** 2)))
    return ranges[int(np.argmin(errors))]


def _within(
    histogram: Histogram, symmetric: bool, below: float, above: float
) -> tuple[float, float]:
    """From -below to above, no wider than the values, with 0 in it."""
    if symmetric:
        threshold = min(max(below, above), histogram.largest)
        return -threshold, threshold
    return max(min(histogram.low, 0.0), -below), min(max(histogram.high, 0.0), above)


def _span(histogram: Histogram) -> float:
    return max(histogram.high, 0.0) - min(histogram.low, 0.0)


_METHODS: dict[CalibrationMethod, Callable[[Histogram, bool], tuple[float, float]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
