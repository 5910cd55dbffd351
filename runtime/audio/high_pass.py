"""A high-pass against DC and infrasound, before the level: they are no sound, but would rule it.

The filter is a Butterworth of second order (bilinear transform, K = tan(pi cutoff / rate)):

    H(z) = b (1 - 2/z + 1/z^2) / (1 + a1/z + a2/z^2)
    b = 1 / (1 + sqrt(2) K + K^2),  a1 = 2 b (K^2 - 1),  a2 = b (1 - sqrt(2) K + K^2)

It starts settled on the first sample, as if that had always been there: DC leaves no trace. Whole
recordings go through it forward and then backward, which shifts no phase. A stream can only go
forward; its cutoff is lower, as the phase that it shifts reaches up to ten times the cutoff.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.source import AroundSource, AudioSource
from frcrn_export.runtime.bundle.manifest import HighPass

Float64Array = npt.NDArray[np.float64]

_BLOCK = 64  # samples in one matrix product
_SETTLED = 1e-9  # what is left of a beginning that does not count any more
# OpenBLAS starts its threads for products of more multiplications than this; they wait busily then.
_ONE_THREAD = 1 << 18
# Of a recording, listened to for infrasound.
_LISTENED_SECONDS = 30


@dataclass(frozen=True)
class _Section:
    """H(z) = direct + 2 Re(residue / (1 - pole / z)): one complex state instead of two real ones.

    With w[n] = pole w[n-1] + x[n], y[n] = direct x[n] + 2 Re(residue w[n]).
    """

    pole: complex
    residue: complex
    direct: float

    def matrices(self, count: int) -> tuple[Float64Array, Float64Array, complex]:
        """For blocks of `count` samples: [count, count + 2], [2, count], and pole^count.

        The first gives the output of a block from rest and what it adds to w (real, imaginary);
        the second the output that w before the block adds.
        """
        powers = self.pole ** np.arange(count + 1)
        response = 2 * (self.residue * powers[:count]).real
        response[0] += self.direct
        lags = np.arange(count) - np.arange(count)[:, None]
        alone = np.where(lags >= 0, response[np.abs(lags)], 0.0)
        last = powers[count - 1 :: -1][:, None]
        ringing = 2 * self.residue * powers[1:]
        carried = np.stack((ringing.real, -ringing.imag))
        return np.hstack((alone, last.real, last.imag)), carried, complex(powers[count])


@lru_cache(maxsize=16)
def _section(cutoff_hz: float, sample_rate: int) -> _Section:
    k = math.tan(math.pi * cutoff_hz / sample_rate)
    b = 1 / (1 + math.sqrt(2) * k + k * k)
    a1, a2 = 2 * b * (k * k - 1), b * (1 - math.sqrt(2) * k + k * k)
    pole = complex(-a1 / 2, math.sqrt(a2 - a1 * a1 / 4))
    residue = b * (1 - 1 / pole) ** 2 / (1 - pole.conjugate() / pole)
    return _Section(pole, residue, b / a2)


@lru_cache(maxsize=64)
def _matrices(
    cutoff_hz: float, sample_rate: int, count: int
) -> tuple[Float64Array, Float64Array, complex]:
    return _section(cutoff_hz, sample_rate).matrices(count)


class HighPassFilter:
    """The filter forward in time, of any number of channels, block by block."""

    def __init__(self, cutoff_hz: float, sample_rate: int) -> None:
        self._cutoff, self._rate = cutoff_hz, sample_rate
        self._pole = _section(cutoff_hz, sample_rate).pole
        self.reset()

    def reset(self) -> None:
        """Begin a new signal: the next sample is its first."""
        self._states: list[complex] | None = None

    def __call__(self, wave: npt.NDArray[np.floating]) -> Float64Array:
        """The output [C, n] for the next samples [C, n]."""
        channels, count = wave.shape
        if not count:
            return np.zeros((channels, 0))
        if self._states is None:
            self._states = [float(first) / (1 - self._pole) for first in wave[:, 0]]
        whole = count - count % _BLOCK
        parts = []
        if whole:
            parts.append(self._filter(wave[:, :whole].reshape(channels, -1, _BLOCK)))
        if whole < count:
            parts.append(self._filter(wave[:, None, whole:]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _filter(self, blocks: npt.NDArray[np.floating]) -> Float64Array:
        """Blocks [C, m, l] to [C, m * l]."""
        channels, count, length = blocks.shape
        matrix, carried, decay = _matrices(self._cutoff, self._rate, length)
        given = blocks.astype(np.float64)
        out = np.empty((channels, count, length + 2))
        rows = max(1, _ONE_THREAD // matrix.size)
        for start in range(0, count, rows):
            some = slice(start, start + rows)
            np.matmul(given[:, some], matrix, out=out[:, some])
        added = out[..., length:].copy().view(np.complex128)[..., 0]  # [C, m]
        assert self._states is not None
        for index in range(channels):
            *before, self._states[index] = accumulate(
                added[index].tolist(),
                lambda state, new: decay * state + new,
                initial=self._states[index],
            )
            added[index] = before
        kept = out[..., :length]
        kept += added[..., None].view(np.float64) @ carried
        return kept.reshape(channels, -1)


def high_passed_blocks(
    blocks: Iterable[Float32Array], cutoff_hz: float, sample_rate: int
) -> Iterator[Float32Array]:
    """A recording in blocks [C, n], forward and backward: no phase is shifted.

    The way back begins a little after each block, late enough that its beginning has settled.
    """
    decay = -math.log(abs(_section(cutoff_hz, sample_rate).pole))
    margin = math.ceil(-math.log(_SETTLED) / decay)
    forward = HighPassFilter(cutoff_hz, sample_rate)
    backward = HighPassFilter(cutoff_hz, sample_rate)

    def back(wave: Float64Array) -> Float32Array:
        backward.reset()
        return backward(wave[:, ::-1])[:, ::-1].astype(np.float32)

    held: Float64Array | None = None
    for block in blocks:
        new = forward(block)
        held = new if held is None else np.concatenate((held, new), axis=1)
        if held.shape[1] > 2 * margin:
            yield back(held)[:, :-margin]
            held = held[:, -margin:]
    if held is not None:
        yield back(held)


@dataclass(frozen=True)
class HighPassed(AroundSource):
    """A source without DC and infrasound."""

    source: AudioSource
    high_pass: HighPass

    def blocks(self) -> Iterator[Float32Array]:
        return high_passed_blocks(
            self.source.blocks(), self.high_pass.cutoff_hz, self.source.sample_rate
        )


def infrasound_db(source: AudioSource) -> float:
    """The power of DC and infrasound over the rest, in dB, in the beginning of a recording.

    -inf where there is none, or no sound at all.
    """
    cutoff = HighPass().cutoff_hz
    seen = 0
    heard: list[Float32Array] = []
    for block in source.blocks():
        heard.append(block)
        seen += block.shape[1]
        if seen >= _LISTENED_SECONDS * source.sample_rate:
            break
    wave = np.concatenate(heard, axis=1)
    sound = np.concatenate(list(high_passed_blocks([wave], cutoff, source.sample_rate)), axis=1)
    below = float(np.square(wave - sound, dtype=np.float64).sum())
    kept = float(np.square(sound, dtype=np.float64).sum())
    if not below:
        return -math.inf
    return 10 * math.log10(below / kept) if kept else math.inf
