"""A fixed piece of work, timed beside the rows: what the machine itself does meanwhile."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

_ROWS, _LENGTH, _REPEATS = 32, 4_096, 5
MUCH_SLOWER = 0.15  # by which half a run may differ from the other before it is worth a word
_FEWEST = 6  # measurements for a statement about their course


def anchor_ms() -> float:
    """The time of a real Fourier transform [32, 4096] on one thread, the median of five, in ms."""
    signal = np.random.default_rng(0).standard_normal((_ROWS, _LENGTH))
    times = []
    for _ in range(_REPEATS):
        started = perf_counter()
        np.fft.rfft(signal)
        times.append(1e3 * (perf_counter() - started))
    return float(np.median(times))


def slowed_by(anchors: Sequence[float]) -> float:
    """How much slower the machine was in its slower half of a run than in the faster, as a ratio.

    The run is cut in two where it began and ended: 0.2 means that one half took 1.2 times as long.
    0 for fewer than six measurements.
    """
    if len(anchors) < _FEWEST:
        return 0.0
    half = len(anchors) // 2
    first, last = float(np.median(anchors[:half])), float(np.median(anchors[-half:]))
    return max(first, last) / min(first, last) - 1
