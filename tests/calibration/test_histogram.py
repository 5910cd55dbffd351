from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frcrn_export.calibration.histogram import BINS, Histogram, histogram, merge

# Products with what is smaller may be 0.
finite = st.floats(-(2.0**30), 2.0**30, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)
arrays = hnp.arrays(np.float32, st.integers(1, 40), elements=finite)


def same(first: Histogram, second: Histogram) -> bool:
    extremes = (first.low, first.high, first.limit) == (second.low, second.high, second.limit)
    return extremes and bool(np.array_equal(first.counts, second.counts))


@settings(max_examples=40)
@given(st.lists(arrays, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_merging_gives_the_histogram_of_all_values(parts: list[np.ndarray], random: object) -> None:
    whole = histogram(np.concatenate(parts))
    shuffle: Callable[[list[np.ndarray]], None] = random.shuffle  # type: ignore[attr-defined]
    shuffle(parts)
    assert same(merge(map(histogram, parts)), whole)
    last = merge(map(histogram, parts[1:]))
    assert same(merge([histogram(parts[0]), last]), whole)  # in any grouping


@settings(max_examples=40)
@given(arrays)
def test_every_value_is_counted_in_its_bin(values: np.ndarray) -> None:
    found = histogram(values)
    edges = np.arange(-BINS, BINS + 1) * (found.limit / BINS)
    expected, _ = np.histogram(values.astype(np.float64), edges)
    assert np.array_equal(found.counts, expected)
    assert (found.low, found.high) == (values.min(), values.max())
    assert found.magnitudes.sum() == len(values)


def test_at_least_half_of_the_bins_are_used() -> None:
    for largest in (1.0, 1.5, 1.999, 3e-20, 1e38):
        found = histogram(np.array([0.0, -largest], np.float32))
        assert found.limit / 2 <= abs(np.float32(largest)) < found.limit


def test_zeros_have_a_histogram_that_merges_with_any_other() -> None:
    zeros, ones = histogram(np.zeros(5, np.float32)), histogram(np.ones(3, np.float32))
    assert zeros.largest == 0.0
    both = merge([zeros, ones])
    assert both.counts[BINS] == 5
    assert both.counts[BINS:].sum() == 8


def test_magnitudes_fold_both_sides() -> None:
    found = histogram(np.array([-0.75, 0.75, 0.25], np.float32))
    assert found.magnitudes[3 * BINS // 4] == 1  # 0.75 begins its bin, -0.75 ends one
    assert found.magnitudes[3 * BINS // 4 - 1 : 3 * BINS // 4 + 1].sum() == 2


def test_the_extremes_may_be_of_more_than_the_counted_values() -> None:
    found = histogram(np.array([0.5], np.float32), low=-6.0, high=2.0)
    assert (found.low, found.high, found.limit) == (-6.0, 2.0, 8.0)
    assert found.counts.sum() == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        histogram(np.array([0.0, bad], np.float32))
