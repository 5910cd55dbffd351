"""The numbers that quantized files compute with, and what their two targets can compute."""

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle.manifest import Target

# What is computed with: whole numbers of 8 bits, or floating-point ones (4 of exponent, 3 of
# mantissa), which TensorRT alone takes, from SM 8.9 on.
QuantizedPrecision = Literal["int8", "fp8"]


@dataclass(frozen=True)
class NumberFormat:
    """The numbers that values are rounded to, from -`largest` to `largest`."""

    dtype: npt.DTypeLike
    largest: float

    def nearest(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        """The values on the number_format; those beyond its ends become its ends."""
        if self.dtype == np.int8:
            values = np.round(values)
        clipped = np.clip(values, -self.largest, self.largest).astype(np.float32)
        nearest: npt.NDArray[Any] = clipped.astype(self.dtype)
        return nearest


NUMBER_FORMATS: dict[QuantizedPrecision, NumberFormat] = {
    "int8": NumberFormat(np.int8, 127),
    "fp8": NumberFormat(ml_dtypes.float8_e4m3fn, 448),
}


@dataclass(frozen=True)
class Capability:
    """What a target can compute in 8 bits, and what it gains from.

    `group_multiple`: what the channels of each group of a grouped convolution must be a multiple
    of. `depthwise`: depthwise convolutions gain too.
    """

    group_multiple: int
    depthwise: bool


CAPABILITIES: dict[Target, Capability] = {
    "tensorrt": Capability(group_multiple=4, depthwise=False),
    # Depthwise ones stand between others, so that what they read and write need not be float32.
    "cpu": Capability(group_multiple=1, depthwise=True),
}


Floats = npt.NDArray[np.floating[Any]]

# A whole bias has to fit in 32 bits, with room for the sum that it is added to.
_BIAS_LIMIT = float(1 << 30)


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight as values * scale: `scale` [channels] along the axis of the outputs, or [].

    `values` are of the weight's shape, int8 from -127 to 127 or float8.
    """

    values: npt.NDArray[Any]
    scale: Floats


def quantize_weight(
    weight: Floats,
    axis: int,
    dtype: npt.DTypeLike,
    number_format: NumberFormat,
    least_scale: Floats | None = None,
) -> QuantizedWeight:
    """Quantize each output channel (along `axis`) by its largest weight; scales are of `dtype`.

    `least_scale` [channels] is what no scale may fall below; see `least_weight_scale`. (Clipping
    the largest weights for a smaller squared error was measured: of the outputs, no gain.)
    """
    exact = weight.astype(np.float64)
    others = tuple(other for other in range(weight.ndim) if other != axis)
    limit = np.abs(exact).max(axis=others) / number_format.largest  # [channels]
    scale = round_up(limit if least_scale is None else np.maximum(limit, least_scale), dtype)
    values = number_format.nearest(exact / np.expand_dims(scale.astype(np.float64), others))
    return QuantizedWeight(values, scale)


def quantize_at_once(
    weight: Floats, axis: int, dtype: npt.DTypeLike, number_format: NumberFormat, least_db: float
) -> QuantizedWeight | None:
    """Quantize with one scale, by the largest weight of all.

    None where that leaves an output channel (along `axis`) an SNR below `least_db`, since its
    weights are far smaller than those of others.
    """
    exact = weight.astype(np.float64)
    scale = round_up(np.abs(exact).max() / number_format.largest, dtype)
    values = number_format.nearest(exact / float(scale))
    error = values.astype(np.float64) * float(scale) - exact
    others = tuple(other for other in range(weight.ndim) if other != axis)
    allowed = (exact**2).sum(axis=others) / 10 ** (least_db / 10)  # [channels]
    if ((error**2).sum(axis=others) > allowed).any():
        return None
    return QuantizedWeight(values, scale)


def least_weight_scale(bias: Floats, input_scale: float) -> Floats:
    """The weight scales [channels] below which the bias would not fit in 32 bits."""
    return np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_LIMIT)


def quantize_bias(bias: Floats, scale: Floats) -> npt.NDArray[np.int32]:
    """A bias [channels] in steps of `scale`, that of the input times those of the weight."""
    return np.round(bias.astype(np.float64) / scale.astype(np.float64)).astype(np.int32)


def round_up(scale: Floats, dtype: npt.DTypeLike) -> Floats:
    """Scales in a float type, not below the exact ones, so that what they cover stays covered.

    Subnormal ones, which lose precision and which some hardware takes for 0, become the smallest
    normal number; a scale of 0, where there is nothing but zeros, becomes 1.
    """
    exact = np.where(scale > 0, np.maximum(scale, np.finfo(dtype).tiny), 1.0)
    rounded = exact.astype(dtype)
    above = np.nextafter(rounded, np.asarray(np.inf, dtype))
    return np.where(rounded.astype(np.float64) < exact, above, rounded)
