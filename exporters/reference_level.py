"""The causal level of a stream, in plain steps: the reference of `stream` vectors.

Written from docs/bundle.md and independent of `frcrn_export.runtime.streaming.level`, which keeps
sums instead of samples.
"""

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import Level

_TARGET_RMS = 10 ** (-25 / 20)
_SILENCE = 1e-4  # -80 dBFS
_SECONDS = 10  # of sound that count, the one that is being filled included
_RISE_DB = 20.0  # a second
_LEAST, _MOST = 1e-6, 100.0


def causal_gains(
    wave: Float32Array, level: Level, sample_rate: int, first: int, interval: int
) -> Float32Array:
    """The gain of each sample of a stream [N].

    The gain is set anew at the end of the first `first` samples, and of every `interval` samples
    after them; zeros follow the stream.
    """
    if level == "none":
        return np.ones_like(wave)
    padded = np.append(wave, np.zeros(max(0, first - len(wave)) + interval, np.float32))
    seconds: list[list[Float32Array]] = [[]]  # of sound, the newest last
    gain, start, parts = 1.0, 0, []
    for stop in range(first, len(padded) + 1, interval):
        part, start = padded[start:stop], stop
        if _loudness(part, level) >= _SILENCE:
            seconds[-1].append(part)
            if sum(map(len, seconds[-1])) >= sample_rate:
                seconds = [*seconds[1 - _SECONDS :], []]
        heard = [sound for second in seconds for sound in second]
        target = _target(np.concatenate(heard), level) if heard else 1.0
        risen = gain * 10 ** (_RISE_DB / 20 * len(part) / sample_rate)
        before, gain = gain, min(max(min(target, risen), _LEAST), _MOST)
        steps = np.arange(1, len(part) + 1) / len(part)
        parts.append(before + (gain - before) * steps)
    return np.concatenate(parts)[: len(wave)].astype(np.float32)


def _loudness(part: Float32Array, level: Level) -> float:
    if level == "peak":
        return float(np.abs(part).max())
    return float(np.sqrt(np.square(part).mean(dtype=np.float64)))


def _target(heard: Float32Array, level: Level) -> float:
    """The gain that the memory asks for."""
    if level == "peak":
        return 1.0 / float(np.abs(heard).max())
    power = np.square(heard)
    mean = power.mean(dtype=np.float64)
    active = power[_eighth(power) > _eighth(np.array([mean], np.float32))]
    if len(active):
        mean = active.mean(dtype=np.float64)
    return _TARGET_RMS / float(np.sqrt(mean))


def _eighth(power: Float32Array) -> npt.NDArray[np.int64]:
    """The eighth of an octave that a power lies in, of those from 2^-32 to 2^34."""
    mantissa, exponent = np.frexp(np.clip(power, 2.0**-32, np.nextafter(np.float32(2**34), 0)))
    eighths: npt.NDArray[np.int64] = 8 * exponent.astype(np.int64) + (16 * mantissa).astype(int)
    return eighths
