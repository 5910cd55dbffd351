"""The high-pass as its recursion, sample by sample: the reference of `high_pass` vectors.

Written from docs/bundle.md and independent of `frcrn_export.runtime.audio.high_pass`, which works
on blocks.
"""

import math

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array


def filtered_recording(wave: Float32Array, cutoff_hz: float, sample_rate: int) -> Float32Array:
    """A recording [N] filtered forward, and what comes out backward."""
    forward = _filtered(wave.astype(np.float64), cutoff_hz, sample_rate)
    return _filtered(forward[::-1], cutoff_hz, sample_rate)[::-1].astype(np.float32)


def filtered_stream(wave: Float32Array, cutoff_hz: float, sample_rate: int) -> Float32Array:
    """A stream [N] filtered forward."""
    return _filtered(wave.astype(np.float64), cutoff_hz, sample_rate).astype(np.float32)


def _filtered(
    wave: npt.NDArray[np.float64], cutoff_hz: float, sample_rate: int
) -> npt.NDArray[np.float64]:
    k = math.tan(math.pi * cutoff_hz / sample_rate)
    b = 1 / (1 + math.sqrt(2) * k + k * k)
    a1, a2 = 2 * b * (k * k - 1), b * (1 - math.sqrt(2) * k + k * k)
    x1 = x2 = float(wave[0])  # settled: as if the first sample had always been there
    y1 = y2 = 0.0
    out = []
    for x in wave.tolist():
        y = b * (x - 2 * x1 + x2) - a1 * y1 - a2 * y2
        x1, x2, y1, y2 = x, x1, y, y1
        out.append(y)
    return np.array(out)
