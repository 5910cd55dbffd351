"""Weights as int8, biases as int32, and scales that a float type can hold."""

import numpy as np
import numpy.typing as npt
import pytest

from frcrn_export.calibration.graph.dtypes import (
    NUMBER_FORMATS,
    QuantizedPrecision,
    least_weight_scale,
    quantize_at_once,
    quantize_bias,
    quantize_weight,
    round_up,
)
from frcrn_export.runtime.audio.measures import snr_db


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("shape", "axis"), [((8, 6, 3), 0), ((6, 8), 1)])
def test_every_weight_is_within_half_a_step(
    dtype: npt.DTypeLike, shape: tuple[int, ...], axis: int
) -> None:
    random = np.random.default_rng(0)
    channels = np.moveaxis(np.geomspace(0.05, 20, 8).reshape((8, *[1] * (len(shape) - 1))), 0, axis)
    weight = (random.standard_normal(shape) * channels).astype(np.float32)
    quantized = quantize_weight(weight, axis, dtype, NUMBER_FORMATS["int8"])
    assert (quantized.values.dtype, quantized.scale.dtype) == (np.int8, dtype)
    assert quantized.scale.shape == (8,)
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = np.expand_dims(quantized.scale.astype(np.float64), others)
    assert (np.abs(quantized.values * scale - weight) <= 0.5000001 * scale).all()
    # All 127 steps are used, but for what the scale's rounding costs.
    assert (np.abs(quantized.values).max(axis=others) >= 126).all()


def test_fp8_is_within_a_sixteenth_of_every_weight() -> None:
    weight = np.random.default_rng(0).standard_normal((8, 100)).astype(np.float32)
    quantized = quantize_weight(weight, 0, np.float32, NUMBER_FORMATS["fp8"])
    exact = quantized.values.astype(np.float32) * quantized.scale[:, None]
    assert np.isfinite(exact).all()
    least = quantized.scale[:, None] * 2.0**-6  # the smallest normal number
    assert (np.abs(exact - weight) <= np.maximum(np.abs(weight), least) / 16).all()


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_one_scale_where_that_leaves_every_channel_enough(precision: QuantizedPrecision) -> None:
    weight = np.random.default_rng(0).uniform(-1, 1, (8, 100)).astype(np.float32)
    weight[3] = 0  # a dead channel is exact with any scale
    quantized = quantize_at_once(weight, 0, np.float16, NUMBER_FORMATS[precision], 30.0)
    assert quantized is not None
    assert quantized.scale.shape == ()
    assert snr_db(weight, quantized.values.astype(np.float32) * quantized.scale) > 30
    weight[5] /= 100  # of all the energy next to nothing, of channel 5 everything
    assert quantize_at_once(weight, 0, np.float16, NUMBER_FORMATS["int8"], 12.0) is None
    assert quantize_at_once(weight.T, 1, np.float16, NUMBER_FORMATS["int8"], 12.0) is None
    assert quantize_at_once(weight.T, 0, np.float16, NUMBER_FORMATS["int8"], 12.0) is not None


def test_channels_of_zeros_and_of_next_to_nothing() -> None:
    weight = np.zeros((3, 4), np.float32)
    weight[1] = 1e-4 * np.array([1, -1, 0.5, 0])  # a scale of 8e-7 is subnormal in float16
    weight[2] = 127
    quantized = quantize_weight(weight, 0, np.float16, NUMBER_FORMATS["int8"])
    assert quantized.scale[0] == 1
    assert quantized.scale[1] == np.finfo(np.float16).tiny
    assert quantized.scale[2] == 1
    assert quantized.values.tolist() == [[0] * 4, [2, -2, 1, 0], [127] * 4]


def test_a_bias_fits_in_32_bits() -> None:
    bias = np.array([1000.0, -3.0, 0.0], np.float32)
    weight = np.array([[1e-9], [1.0], [0.0]], np.float32)
    input_scale = 0.01
    least = least_weight_scale(bias, input_scale)
    quantized = quantize_weight(weight, 0, np.float32, NUMBER_FORMATS["int8"], least)
    scale = (input_scale * quantized.scale).astype(np.float32)
    whole = quantize_bias(bias, scale)
    assert whole.dtype == np.int32
    assert np.abs(whole.astype(np.float64)).max() <= 2**30 + 1
    np.testing.assert_allclose(whole * scale, bias, atol=scale.max() / 2, rtol=1e-6)


def test_scales_are_rounded_up() -> None:
    exact = np.random.default_rng(0).uniform(1e-3, 10, 1000)
    rounded = round_up(exact, np.float16)
    assert (rounded.astype(np.float64) >= exact).all()
    assert (rounded.astype(np.float64) < exact * (1 + 2**-10)).all()
    assert (round_up(np.array([0.5, 0.25]), np.float16) == [0.5, 0.25]).all()
