"""Medians, their intervals and percentiles of times."""

from collections.abc import Sequence
from math import comb

import numpy as np

from frcrn_export.runtime.bench.result import Summary

_TAIL = 0.025  # on each side of a 95 % interval
FEWEST_ROUNDS = 6  # for such an interval
CERTAINTY = 0.02  # of a median, as a share of it


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, from order statistics, for any distribution.

    The k-th smallest and largest of n values enclose the median with 1 - 2 P(B < k), where B is
    binomial (n, 1/2). Fewer than six values give their extremes, which are less certain.
    """
    ordered, n = sorted(values), len(values)
    below, k = 1.0, 0
    while below <= _TAIL * 2.0**n and 2 * k + 1 < n:
        k += 1
        below += comb(n, k)
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def summarise(rounds: Sequence[Sequence[float]]) -> Summary:
    """The summary of the times of all calls in ms, round after round; at least one call."""
    samples = np.concatenate([np.asarray(each, np.float64) for each in rounds])
    low, high = median_interval([float(np.median(each)) for each in rounds])
    median = float(np.median(samples))
    p90, p95, p99 = (float(value) for value in np.percentile(samples, (90, 95, 99)))
    return Summary(
        median=median,
        low=min(low, median),
        high=max(high, median),
        mean=float(samples.mean()),
        p90=p90,
        p95=p95,
        p99=p99,
        max=float(samples.max()),
    )


def is_certain(rounds: Sequence[Sequence[float]], within: float) -> bool:
    """Whether the median's 95 % interval reaches less than a share of it to both sides."""
    if len(rounds) < FEWEST_ROUNDS:
        return False
    found = summarise(rounds)
    return max(found.high - found.median, found.median - found.low) <= within * found.median
