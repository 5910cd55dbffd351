"""Quantization parameters of uint8 signals: scale and zero point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from frcrn_export.calibration.graph.dtypes import Floats, round_up
from frcrn_export.calibration.graph.signals import Signal
from frcrn_export.calibration.histogram import Histogram, merge, value_range
from frcrn_export.runtime.bundle.manifest import CalibrationMethod


@dataclass(frozen=True)
class QuantizationParameters:
    """uint8 as scale * (value - zero_point)."""

    scale: Floats
    zero_point: npt.NDArray[Any]


def parameters_for(low: float, high: float, margin: int = 0) -> QuantizationParameters:
    """The parameters for a range that contains 0, with `margin` steps unused at both ends."""
    scale = round_up(np.array((high - low) / (255 - 2 * margin)), np.float32)
    zero = np.round(np.clip(-low / scale, 0, 255 - 2 * margin)) + margin
    return QuantizationParameters(scale, zero.astype(np.uint8))


# 255 is exactly 1, so that a mask in uint8 passes values unchanged.
MASK_PARAMETERS = QuantizationParameters(np.array(1 / 255, np.float32), np.array(0, np.uint8))


def signal_histogram(signal: Signal, ranges: Mapping[str, Histogram]) -> Histogram:
    """All values of a signal. Raises KeyError for a tensor without a range."""
    return merge([ranges[name] for name in signal.observed])


def signal_range(
    signal: Signal, ranges: Mapping[str, Histogram], method: CalibrationMethod
) -> tuple[float, float]:
    """The quantization range of a signal."""
    return value_range(signal_histogram(signal, ranges), method, symmetric=False)


def signal_parameters(
    signal: Signal, ranges: Mapping[str, Histogram], method: CalibrationMethod
) -> QuantizationParameters:
    """The quantization parameters of a signal."""
    return parameters_for(*signal_range(signal, ranges, method))
