"""Sources of audio in blocks: one interface for arrays, files and resampled audio."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import AudioError

BLOCK_FRAMES = 1 << 16
MAX_CHANNELS = 64
# A larger sample cannot be audio, not even unscaled 16-bit values.
LARGEST_SAMPLE = 65536.0
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz


class AudioSource(Protocol):
    """Audio of a known length that can be read again and again, block by block."""

    @property
    def name(self) -> str:
        """The name that errors show."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    @property
    def channels(self) -> int:
        """C, at least 1."""

    @property
    def frames(self) -> int:
        """N, samples in each channel, at least 1."""

    def blocks(self) -> Iterator[Float32Array]:
        """Blocks [C, n] float32 that concatenate to [C, N].

        Raises AudioError where a sample is NaN, infinite or beyond LARGEST_SAMPLE.
        """


class AroundSource:
    """A source around another of the same form, such as a filter: what it has from that one."""

    source: AudioSource

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def sample_rate(self) -> int:
        return self.source.sample_rate

    @property
    def channels(self) -> int:
        return self.source.channels

    @property
    def frames(self) -> int:
        return self.source.frames


@dataclass(frozen=True)
class ArraySource:
    """An array [C, N] float32 in memory."""

    samples: Float32Array
    sample_rate: int
    name: str = "audio"

    @property
    def channels(self) -> int:
        return len(self.samples)

    @property
    def frames(self) -> int:
        return int(self.samples.shape[1])

    def blocks(self) -> Iterator[Float32Array]:
        starts = range(0, self.frames, BLOCK_FRAMES)
        return finite_blocks(
            self.name, (self.samples[:, start : start + BLOCK_FRAMES] for start in starts)
        )


def array_source(audio: npt.NDArray[Any], sample_rate: int) -> ArraySource:
    """A source of an array [N] or [channels, N] of floats.

    Raises AudioError for anything else: integers, other numbers of axes, no samples, more channels
    than `MAX_CHANNELS`, a sample rate out of range.
    """
    if not isinstance(audio, np.ndarray) or not np.issubdtype(audio.dtype, np.floating):
        kind = audio.dtype if isinstance(audio, np.ndarray) else type(audio).__name__
        raise AudioError(
            f"audio must be a NumPy array of floats in [-1, 1], got {kind}; "
            "16-bit samples: audio.astype('float32') / 32768"
        )
    if audio.ndim not in (1, 2):
        raise AudioError(f"audio must be [N] or [channels, N], got shape {list(audio.shape)}")
    samples = np.atleast_2d(audio).astype(np.float32, copy=False)
    check_format("audio", samples.shape[0], samples.shape[1], sample_rate)
    return ArraySource(samples, int(sample_rate))


def check_format(name: str, channels: int, frames: int, sample_rate: int) -> None:
    """Raise AudioError where audio is empty or its channels or sample rate make no sense."""
    if frames < 1 or channels < 1:
        raise AudioError(f"{name}: no samples in it; give audio with at least one sample")
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"{name}: {channels} channels of {frames} samples, at most {MAX_CHANNELS} are taken; "
            "an array must be [channels, N]: pass audio.T"
        )
    if not MIN_RATE <= sample_rate <= MAX_RATE or int(sample_rate) != sample_rate:
        raise AudioError(
            f"{name}: a sample rate of {sample_rate} Hz; give whole Hz, {MIN_RATE} to {MAX_RATE}"
        )


def finite_blocks(name: str, blocks: Iterator[Float32Array]) -> Iterator[Float32Array]:
    """The same blocks; raises AudioError at the first that holds a sample that is no audio."""
    start = 0
    for block in blocks:
        if _unusable(block).any():
            raise _not_audio(name, start, block, blocks)
        yield block
        start += block.shape[1]


def _unusable(block: Float32Array) -> npt.NDArray[np.bool_]:
    usable: npt.NDArray[np.bool_] = np.abs(block) <= LARGEST_SAMPLE  # False for NaN
    return ~usable


def _not_audio(
    name: str, start: int, block: Float32Array, rest: Iterator[Float32Array]
) -> AudioError:
    bad = _unusable(block)  # [C, n]
    count = int(bad.sum()) + sum(int(_unusable(later).sum()) for later in rest)
    first = int(bad.any(axis=0).argmax())
    worst = block[bad]
    what = "NaN or infinite" if not np.isfinite(worst).all() else f"beyond {LARGEST_SAMPLE:g}"
    return AudioError(
        f"{name}: {count} samples are {what}, the first is sample {start + first} of "
        f"channel {int(bad[:, first].argmax())}; repair the recording or cut it before that"
    )
