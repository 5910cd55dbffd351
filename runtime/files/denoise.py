"""Denoising one file, from disk to disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Protocol

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.source import AudioSource
from frcrn_export.runtime.audio.writer import FileWriter
from frcrn_export.runtime.files.jobs import Job

_plotting = Lock()  # matplotlib's caches are not for several threads


class SourceDenoiser(Protocol):
    """A `Denoiser`, or anything with its `stream`."""

    def stream(
        self,
        source: AudioSource,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
    ) -> Iterator[Float32Array]:
        """Blocks [C, n] at the source's rate that concatenate to its length."""


@dataclass(frozen=True)
class FileResult:
    """One denoised file. `audio_seconds` of audio took `elapsed_seconds`."""

    job: Job
    sample_rate: int
    channels: int
    audio_seconds: float
    elapsed_seconds: float

    @property
    def real_time_factor(self) -> float:
        """Processing time over audio time: below 1 is faster than real time."""
        return self.elapsed_seconds / self.audio_seconds


def denoise_file(
    denoiser: SourceDenoiser,
    job: Job,
    *,
    restore_level: bool = True,
    attenuation_limit: float | None = None,
    progress: Callable[[Job, float], None] | None = None,
) -> FileResult:
    """Denoise a file.

    The output has the rate, channels and subtype of the input. `progress` is called with the share
    that is done, 0 to 1; what it raises ends the work. After an error no partial file is left.
    """
    source = FileSource(job.source)
    show = progress or (lambda job, share: None)
    started = perf_counter()
    written = 0
    show(job, 0.0)
    with FileWriter(job.target, like=source) as writer:
        for block in denoiser.stream(source, restore_level, attenuation_limit):
            writer.write(block)
            written += block.shape[1]
            show(job, written / source.frames)
    elapsed = perf_counter() - started
    if job.plot is not None:
        from frcrn_export.runtime.audio.spectrogram import plot_before_after

        with _plotting:
            plot_before_after(job.source, job.target, job.plot)
    seconds = source.frames / source.sample_rate
    return FileResult(job, source.sample_rate, source.channels, seconds, elapsed)
