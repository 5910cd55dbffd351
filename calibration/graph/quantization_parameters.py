"""The 256 steps of uint8 that a signal is rounded to."""

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
    """The steps for a range that has 0 in it, so many of them unused at both ends."""
    scale = round_up(np.array((high - low) / (255 - 2 * margin)), np.float32)
    zero = np.round(np.clip(-low / scale, 0, 255 - 2 * margin)) + margin
    return QuantizationParameters(scale, zero.astype(np.uint8))


# One is 255, so that a mask in uint8 lets pass exactly what it was given.
MASK_PARAMETERS = QuantizationParameters(np.array(1 / 255, np.float32), np.array(0, np.uint8))


def signal_histogram(signal: Signal, ranges: Mapping[str, Histogram]) -> Histogram:
    """All values of a signal. Raises KeyError for a tensor without a range."""
    return merge([ranges[name] for name in signal.observed])


def signal_range(
    signal: Signal, ranges: Mapping[str, Histogram], method: CalibrationMethod
) -> tuple[float, float]:
    """What the steps of a signal cover."""
    return value_range(signal_histogram(signal, ranges), method, symmetric=False)


def signal_parameters(
    signal: Signal, ranges: Mapping[str, Histogram], method: CalibrationMethod
) -> QuantizationParameters:
    """The steps of a signal."""
    return parameters_for(*signal_range(signal, ranges, method))
