"""The causal level rules: a gain that depends on no future sample.

The offline rules (`runtime.audio.level`) measure the whole utterance first. In a stream, each
interval b = 0, 1, ... (a hop of the network) sets a target from the samples up to its own end:

- `active_rms`: G(b) = TARGET_RMS / sqrt(mean of x[n]^2 over the n with x[n]^2 > m), where m is the
  mean of x[n]^2: the offline rule, over the memory instead of the whole utterance. A histogram
  holds the powers in eighths of an octave; the threshold m is rounded up to the next bin.
- `peak`: G(b) = 1 / max |x[n]| over the memory.
- `none`: the gain is 1.

The memory holds the last 9 to 10 seconds of sound and forgets second by second. An interval below
-80 dBFS (rms for `active_rms`, peak for `peak`) is silence and does not enter the memory: the gain
outlasts a pause. While the memory is empty, G = 1.

The gain falls at once and rises slowly, and stays in bounds:

    g(b) = clip(min(G(b), g(b-1) * 10^(RISE_DB_PER_SECOND * seconds(b) / 20)), MIN_GAIN, MAX_GAIN)

with g(-1) = 1. Within interval b the gain runs in a straight line from g(b-1) to g(b). The
network gets x[n] g[n], and its output is divided by the same g[n]. So a gain that was used never
changes, a loud event weighs on the gain for ten seconds of sound at most, and in a recording of up
to nine seconds G(b) ends at the offline gain.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.level import TARGET_RMS
from frcrn_export.runtime.bundle.manifest import Level
from frcrn_export.runtime.errors import UserError

MEMORY_SECONDS = 10
RISE_DB_PER_SECOND = 20.0
MIN_GAIN, MAX_GAIN = 1e-6, 100.0  # -120 and 40 dB
SILENCE = 1e-4  # -80 dBFS

# The histogram: float32 powers by exponent and the first three bits of the mantissa, 2^-32 to 2^34.
_SHIFT = 20
_FIRST_BIN = (127 - 32) << 3
_BINS = 66 << 3


class StreamLevel(Protocol):
    """The gain of a stream."""

    def gains(self, wave: Float32Array, out: Float32Array) -> None:
        """The gains of the next samples [n], into `out` [n]."""

    def reset(self) -> None:
        """Begin a new stream."""


class FixedLevel:
    """A gain that is known in advance."""

    def __init__(self, gain: float) -> None:
        self._gain = gain

    def gains(self, wave: Float32Array, out: Float32Array) -> None:
        out[:] = self._gain

    def reset(self) -> None:
        pass


class CausalLevel:
    """The causal gain of one stream, set anew every `interval` samples."""

    def __init__(self, rule: Level, sample_rate: int, interval: int) -> None:
        self._memory = _Peak(sample_rate) if rule == "peak" else _ActiveRms(sample_rate)
        self._interval = interval
        self._rise = 10 ** (RISE_DB_PER_SECOND / 20 / sample_rate)  # each sample
        self._gain = 1.0

    def gains(self, wave: Float32Array, out: Float32Array) -> None:
        """As `StreamLevel.gains`; of any n, the first interval takes the remainder."""
        count = max(1, len(wave) // self._interval)
        start = 0
        for stop in range(len(wave) - (count - 1) * self._interval, len(wave) + 1, self._interval):
            self._update(wave[start:stop], out[start:stop])
            start = stop

    def reset(self) -> None:
        self._memory.reset()
        self._gain = 1.0

    def _update(self, wave: Float32Array, out: Float32Array) -> None:
        self._memory.add(wave)
        risen = self._gain * self._rise ** len(wave)
        gain = min(max(min(self._memory.target(), risen), MIN_GAIN), MAX_GAIN)
        step = (gain - self._gain) / len(wave)
        out[:] = np.linspace(self._gain + step, gain, len(wave))
        self._gain = gain


class _Ring:
    """A ring of slots, one for each second of sound; the newest replaces the oldest."""

    def __init__(self, sample_rate: int, slot_shape: tuple[int, ...]) -> None:
        self._sample_rate = sample_rate
        self._slots = np.zeros((MEMORY_SECONDS, *slot_shape))
        self.reset()

    def reset(self) -> None:
        self._slots[:] = 0
        self._index = 0
        self._heard = 0

    def next_slot(self, samples: int) -> bool:
        """Count samples; after each second empty the oldest slot and return True."""
        self._heard += samples
        if self._heard < self._sample_rate:
            return False
        self._heard = 0
        self._index = (self._index + 1) % MEMORY_SECONDS
        self._slots[self._index] = 0
        return True

    @property
    def slot(self) -> npt.NDArray[np.float64]:
        slot: npt.NDArray[np.float64] = self._slots[self._index]
        return slot


class _Peak(_Ring):
    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate, (1,))

    def add(self, wave: Float32Array) -> None:
        peak = float(np.abs(wave).max())
        if peak >= SILENCE:
            self.slot[0] = max(self.slot[0], peak)
            self.next_slot(len(wave))

    def target(self) -> float:
        peak = float(self._slots.max())
        return 1.0 / peak if peak else 1.0


class _ActiveRms(_Ring):
    """A slot is [2, bins]: the number of samples by power, and the sum of their powers."""

    def __init__(self, sample_rate: int) -> None:
        self._total = np.zeros((2, _BINS))
        super().__init__(sample_rate, (2, _BINS))

    def reset(self) -> None:
        super().reset()
        self._total[:] = 0

    def add(self, wave: Float32Array) -> None:
        power = np.square(wave)
        if float(power.mean(dtype=np.float64)) < SILENCE**2:
            return
        bins = _bin(power)
        for histogram in (self.slot, self._total):
            np.add.at(histogram[0], bins, 1.0)
            np.add.at(histogram[1], bins, power)
        if self.next_slot(len(wave)):
            np.sum(self._slots, axis=0, out=self._total)

    def target(self) -> float:
        count, power = self._total.sum(axis=1)
        if not count:
            return 1.0
        above = int(_bin(np.array([power / count], np.float32))[0]) + 1
        active, active_power = self._total[:, above:].sum(axis=1)
        # A signal of constant magnitude has no sample above its mean.
        mean_power = active_power / active if active else power / count
        return TARGET_RMS / float(np.sqrt(mean_power))


def _bin(power: Float32Array) -> npt.NDArray[np.int32]:
    """The bin of each power: its float32 bits, read as a number, grow with its logarithm."""
    bits: npt.NDArray[np.int32] = power.view(np.int32)
    bins: npt.NDArray[np.int32] = np.clip((bits >> _SHIFT) - _FIRST_BIN, 0, _BINS - 1)
    return bins


def stream_level(rule: Level, gain: float | None, sample_rate: int, interval: int) -> StreamLevel:
    """The level of one stream: `gain` where it is given, else by the rule.

    Raises UserError for a gain out of range.
    """
    if gain is not None and not MIN_GAIN <= gain <= 1 / MIN_GAIN:
        raise UserError(f"a gain of {gain}; give a factor from {MIN_GAIN:g} to {1 / MIN_GAIN:g}")
    if gain is not None or rule == "none":
        return FixedLevel(1.0 if gain is None else gain)
    return CausalLevel(rule, sample_rate, interval)
