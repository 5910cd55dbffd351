from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frcrn_export.calibration.histogram import BINS, Histogram, histogram, merge, value_range
from frcrn_export.runtime.bundle.manifest import CalibrationMethod

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


METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)

amplitudes = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))


def rounding_error(values: np.ndarray, low: float, high: float, steps: int) -> float:
    step = (high - low) / steps
    levels = np.clip(np.rint(values / step), np.rint(low / step), np.rint(high / step))
    return float(np.mean((values - levels * step) ** 2))


@settings(max_examples=40)
@given(amplitudes, st.sampled_from(METHODS), st.booleans())
def test_a_range_contains_zero_and_no_more_than_the_values(
    values: np.ndarray, method: CalibrationMethod, symmetric: bool
) -> None:
    low, high = value_range(histogram(values), method, symmetric)
    assert low <= 0.0 <= high
    assert low < high
    if symmetric:
        assert low == -high
        assert high <= np.abs(values).max() or not values.any()
    elif values.any():
        assert low >= min(values.min(), 0.0)
        assert high <= max(values.max(), 0.0)


@settings(max_examples=40)
@given(amplitudes, st.sampled_from(METHODS), st.booleans(), st.integers(-20, 20))
def test_a_range_scales_with_the_values(
    values: np.ndarray, method: CalibrationMethod, symmetric: bool, exponent: int
) -> None:
    values = np.round(values * 8) / 8  # no denormals after scaling
    if values.any():
        scaled = (values * np.float32(2.0**exponent)).astype(np.float32)
        once = value_range(histogram(values), method, symmetric)
        again = value_range(histogram(scaled), method, symmetric)
        assert again == pytest.approx([end * 2.0**exponent for end in once])


@settings(max_examples=40)
@given(amplitudes, st.booleans())
def test_minmax_clips_nothing(values: np.ndarray, symmetric: bool) -> None:
    low, high = value_range(histogram(values), "minmax", symmetric)
    assert low <= values.min()
    assert values.max() <= high


@pytest.mark.parametrize("method", METHODS)
def test_zeros_have_a_range(method: CalibrationMethod) -> None:
    zeros = histogram(np.zeros(9, np.float32))
    assert value_range(zeros, method, symmetric=True) == (-1.0, 1.0)
    assert value_range(zeros, method, symmetric=False) == (0.0, 1.0)


def outlier(sign: float = 1.0) -> np.ndarray:
    """A hundred thousand of a normal distribution, and one that is far away."""
    values = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)
    values[7] = sign * 60.0
    return values


@pytest.mark.parametrize("method", ["percentile", "entropy"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_outlier_does_not_set_the_range(method: CalibrationMethod, sign: float) -> None:
    _, high = value_range(histogram(outlier(sign)), method, symmetric=True)
    assert 2.5 < high < 12.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_percentile_cuts_each_end_by_itself(sign: float) -> None:
    low, high = value_range(histogram(outlier(sign)), "percentile", symmetric=False)
    assert -5.0 < low < -3.5
    assert 3.5 < high < 5.0


def test_a_percentile_clips_one_in_ten_thousand() -> None:
    values = np.random.default_rng(2).standard_normal(1_000_000).astype(np.float32)
    _, threshold = value_range(histogram(values), "percentile", symmetric=True)
    assert 0.5e-4 < np.mean(np.abs(values) > threshold) <= 1e-4
    skewed = np.where(values < 0, values * 10, values).astype(np.float32)
    low, high = value_range(histogram(skewed), "percentile", symmetric=False)
    assert 0.0 < np.mean(skewed < low) <= 0.5e-4
    assert 0.0 < np.mean(skewed > high) <= 0.5e-4


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("power", [1, 3, 5])
def test_mse_has_the_least_error_of_all_methods(symmetric: bool, power: int) -> None:
    values = np.random.default_rng(2).standard_normal(50_000).astype(np.float32) ** power
    counted = histogram(values)
    ranges = {method: value_range(counted, method, symmetric) for method in METHODS}
    errors = {m: rounding_error(values, *ends, 255 - symmetric) for m, ends in ranges.items()}
    assert errors["mse"] <= 1.02 * min(errors.values())


@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_weighs_an_outlier_against_all_others(symmetric: bool) -> None:
    values = outlier()
    counted = histogram(values)
    # Symmetric: 60 costs t^2 / (12 127^2) in rounding, or (60 - t)^2 / 1e5 in clipping.
    low, high = value_range(counted, "mse", symmetric)
    assert (35.0 < high < 45.0) if symmetric else (40.0 < high < 60.0)
    assert low == -high if symmetric else -6.0 < low < -3.0
    best = rounding_error(values, low, high, 255 - symmetric)
    whole = value_range(counted, "minmax", symmetric)
    assert best < 0.9 * rounding_error(values, *whole, 255 - symmetric)


def test_mse_of_a_uniform_distribution_clips_nothing() -> None:
    values = np.linspace(-1.0, 1.0, 100_001, dtype=np.float32)
    assert value_range(histogram(values), "mse", symmetric=True) == (-1.0, 1.0)
    assert value_range(histogram(values), "mse", symmetric=False) == (-1.0, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_the_range_of_one_sided_values_is_one_sided(method: CalibrationMethod) -> None:
    # Half of them are zeros, none lies on the edge of two bins.
    values = np.maximum(np.random.default_rng(1).standard_normal(100_000), 0.0).astype(np.float32)
    low, high = value_range(histogram(values), method, symmetric=False)
    assert low == 0.0
    assert high > 2.5
    assert value_range(histogram(-values), method, symmetric=False) == pytest.approx(
        (-high, 0.0), rel=0.1
    )


def test_entropy_keeps_a_uniform_distribution_whole() -> None:
    values = np.linspace(0.0, 1.0, 1 << 20, dtype=np.float32)
    assert value_range(histogram(values), "entropy", symmetric=True)[1] > 0.97
    assert value_range(histogram(values), "entropy", symmetric=False)[1] > 0.97
