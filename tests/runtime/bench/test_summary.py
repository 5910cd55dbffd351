from itertools import pairwise
from math import comb

import numpy as np
import pytest

from frcrn_export.runtime.bench.summary import is_certain, median_interval, summarise


@pytest.mark.parametrize("n", [6, 7, 20, 101])
def test_the_interval_is_the_narrowest_that_is_certain_enough(n: int) -> None:
    low, high = median_interval(list(range(n)))
    k = int(low) + 1  # the k-th smallest value
    assert high == n - k
    outside = 2 * sum(comb(n, i) for i in range(k)) / 2**n
    narrower = 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert outside <= 0.05 < narrower


def test_few_values_give_their_extremes() -> None:
    assert median_interval([3.0]) == (3.0, 3.0)
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(1_000):
        low, high = median_interval(list(draw.lognormal(0.0, 0.3, 15)))
        held += low <= 1.0 <= high
    assert 930 <= held <= 990


def test_a_summary_holds_all_calls() -> None:
    found = summarise([(1.0, 2.0), (3.0,), (10.0,)])
    assert (found.median, found.mean, found.max) == (2.5, 4.0, 10.0)
    assert found.low <= found.median <= found.high
    values = (found.median, found.p90, found.p95, found.p99, found.max)
    assert all(a <= b for a, b in pairwise(values))


def test_certain_where_all_rounds_agree_and_are_enough() -> None:
    assert is_certain([(1.0,)] * 6, 0.02)
    assert not is_certain([(1.0,)] * 5, 0.02)
    assert not is_certain([(1.0,), (1.1,)] * 4, 0.02)
