"""Number formats of quantized files, their weights, and the capabilities of the two targets."""

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle.manifest import Target

# INT8, or float8 with 4 bits of exponent and 3 of mantissa, for TensorRT from SM 8.9 on.
QuantizedPrecision = Literal["int8", "fp8"]


@dataclass(frozen=True)
class NumberFormat:
    """A dtype that values are rounded to, from -`largest` to `largest`."""

    dtype: npt.DTypeLike
    largest: float

    def nearest(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        """The values rounded to the format, and clipped to its range."""
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
    """The layers that a target computes in 8 bits, and gains from.

    `group_multiple`: in grouped convolutions the channels of a group must be a multiple of this.
    `depthwise`: depthwise convolutions gain too.
    """

    group_multiple: int
    depthwise: bool


CAPABILITIES: dict[Target, Capability] = {
    "tensorrt": Capability(group_multiple=4, depthwise=False),
    # Depthwise layers lie between others, so that their input and output need not be float32.
    "cpu": Capability(group_multiple=1, depthwise=True),
}


Floats = npt.NDArray[np.floating[Any]]

# An int32 bias needs headroom for the sum that it is added to.
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

    `least_scale` [channels] is a lower limit of the scales; see `least_weight_scale`. (Clipping the
    largest weights to reduce their squared error did not improve outputs.)
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
    """Quantize per tensor: one scale, by the largest weight.

    None where an output channel (along `axis`) would have an SNR below `least_db`, because its
    weights are far smaller than others.
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
    """The smallest weight scales [channels] with which the bias fits in 32 bits."""
    return np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_LIMIT)


def quantize_bias(bias: Floats, scale: Floats) -> npt.NDArray[np.int32]:
    """A bias [channels] as int32 multiples of `scale`, the input's scale times the weight's."""
    return np.round(bias.astype(np.float64) / scale.astype(np.float64)).astype(np.int32)


def round_up(scale: Floats, dtype: npt.DTypeLike) -> Floats:
    """Scales rounded up to a float type, so that they cover the same range.

    Subnormal scales lose precision, and some hardware flushes them to 0: they become the smallest
    normal number. A scale of 0, of a tensor of zeros, becomes 1.
    """
    exact = np.where(scale > 0, np.maximum(scale, np.finfo(dtype).tiny), 1.0)
    rounded = exact.astype(dtype)
    above = np.nextafter(rounded, np.asarray(np.inf, dtype))
    return np.where(rounded.astype(np.float64) < exact, above, rounded)
