"""Denoising files, each from disk to disk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.source import AudioSource
from frcrn_export.runtime.audio.writer import FileWriter
from frcrn_export.runtime.files.jobs import Job


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


def denoise_files(
    denoiser: SourceDenoiser,
    jobs: Sequence[Job],
    *,
    restore_level: bool = True,
    attenuation_limit: float | None = None,
    progress: Callable[[Job, float], None] | None = None,
) -> Iterator[FileResult]:
    """Denoise the files one by one, and yield each result.

    Outputs have the rate, channels and subtype of their inputs. `progress` is called with the share
    of a file that is done, 0 to 1. An error ends the run: finished files stay, and no partial file
    is left.
    """

    def denoise(source: AudioSource) -> Iterator[Float32Array]:
        return denoiser.stream(source, restore_level, attenuation_limit)

    for job in jobs:
        yield _denoise_file(denoise, job, progress or (lambda job, share: None))


def _denoise_file(
    denoise: Callable[[AudioSource], Iterator[Float32Array]],
    job: Job,
    progress: Callable[[Job, float], None],
) -> FileResult:
    source = FileSource(job.source)
    started = perf_counter()
    written = 0
    progress(job, 0.0)
    with FileWriter(job.target, like=source) as writer:
        for block in denoise(source):
            writer.write(block)
            written += block.shape[1]
            progress(job, written / source.frames)
    elapsed = perf_counter() - started
    if job.plot is not None:
        from frcrn_export.runtime.audio.spectrogram import plot_before_after

        plot_before_after(job.source, job.target, job.plot)
    seconds = source.frames / source.sample_rate
    return FileResult(job, source.sample_rate, source.channels, seconds, elapsed)
