"""Level rules: the gain that brings an utterance to the level its network was trained at."""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle.manifest import Level

Gain = npt.NDArray[np.float64]
Blocks = Callable[[], Iterable[npt.NDArray[np.float32]]]

# -25 dB, the level of the rule `active_rms`.
TARGET_RMS = 10 ** (-25 / 20)
# Added to an rms: the first by ModelScope, which leaves the result at this level, the second by
# ClearerVoice, which restores the input's level.
EPS_LEVELLED = float(np.finfo(np.float64).eps)
EPS_RESTORED = 1e-6
# A peak below this counts as silence: its gain would not fit a float32.
_SMALLEST = np.finfo(np.float32).tiny


def measure_gain(blocks: Blocks, rule: Level, eps: float = EPS_RESTORED) -> Gain:
    """The gain of each channel, [C] float64, from the blocks [C, n] that `blocks()` gives.

    `active_rms`: to -25 dB rms, then again by the rms of the samples above the mean power. `peak`:
    to a peak of 1. `none`: 1. A silent channel has gain 1. `blocks` is called once for each pass
    over the audio, so that the audio need not be in memory.
    """
    if rule == "active_rms":
        return _active_rms_gain(blocks, eps)
    if rule == "peak":
        peak = np.max([np.abs(block).max(axis=1) for block in blocks()], axis=0)
        return 1.0 / np.where(peak >= _SMALLEST, peak, 1.0).astype(np.float64)
    return np.ones(len(next(iter(blocks()))))


def _active_rms_gain(blocks: Blocks, eps: float) -> Gain:
    mean_power, _ = _mean_power(blocks(), threshold=None)
    active_power, active = _mean_power(blocks(), threshold=mean_power)
    first = TARGET_RMS / (np.sqrt(mean_power) + eps)
    # A signal of constant magnitude has no sample above its mean.
    second = np.where(active > 0, TARGET_RMS / (first * np.sqrt(active_power) + eps), 1.0)
    return np.where(mean_power > 0, first * second, 1.0)


def _mean_power(
    blocks: Iterable[npt.NDArray[np.float32]], threshold: Gain | None
) -> tuple[Gain, npt.NDArray[np.int64]]:
    """Mean power [C] of the samples with power above `threshold` [C], and how many they are."""
    total, count = np.zeros(1), np.zeros(1, np.int64)
    for block in blocks:
        power = block.astype(np.float64) ** 2
        chosen = np.ones_like(power, bool) if threshold is None else power > threshold[:, None]
        total = total + np.sum(power, axis=1, where=chosen)
        count = count + np.sum(chosen, axis=1)
    return total / np.maximum(count, 1), count
