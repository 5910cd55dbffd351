"""Resampling of audio that is read block by block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.source import AudioSource


@dataclass(frozen=True)
class Resampled:
    """A source at another sample rate, in Hz. Its length is rounded up to whole samples."""

    source: AudioSource
    sample_rate: int

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def channels(self) -> int:
        return self.source.channels

    @property
    def frames(self) -> int:
        return -(-self.source.frames * self.sample_rate // self.source.sample_rate)

    def blocks(self) -> Iterator[Float32Array]:
        rates = (self.source.sample_rate, self.sample_rate)
        blocks = resample_blocks(self.source.blocks(), self.channels, *rates)
        return fit_blocks(blocks, self.channels, self.frames)


def resample_blocks(
    blocks: Iterable[Float32Array], channels: int, from_rate: int, to_rate: int
) -> Iterator[Float32Array]:
    """Blocks [C, n] at one rate -> blocks [C, n'] at another; the filter carries on between them.

    Equal to resampling the whole signal at once, without the filter's delay.
    """
    import soxr

    stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block.T)).T  # [n, C] -> [C, n']
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T


def fit_blocks(
    blocks: Iterable[Float32Array], channels: int, frames: int
) -> Iterator[Float32Array]:
    """Blocks cut, or continued with zeros, to `frames` samples in all; empty blocks left out."""
    missing = frames
    for block in blocks:
        kept = block[:, :missing]
        missing -= kept.shape[1]
        if kept.shape[1]:
            yield kept
    if missing:
        yield np.zeros((channels, missing), np.float32)
