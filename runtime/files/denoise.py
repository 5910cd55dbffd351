"""Denoising one file, from disk to disk."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Protocol

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.band import BandAbove
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.source import AudioSource
from frcrn_export.runtime.audio.spool import delivered, spooled, suffix_like
from frcrn_export.runtime.audio.writer import FileWriter
from frcrn_export.runtime.bundle.manifest import Manifest
from frcrn_export.runtime.files.jobs import Job

logger = logging.getLogger(__name__)

_plotting = Lock()  # matplotlib's caches are not for several threads


class SourceDenoiser(Protocol):
    """A `Denoiser`, or anything with its `manifest` and `stream`."""

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""

    def stream(
        self,
        source: AudioSource,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
    ) -> Iterator[Float32Array]:
        """Blocks [C, n] at the source's rate that concatenate to its length."""


@dataclass(frozen=True)
class FileResult:
    """One denoised file. `audio_seconds` of audio took `elapsed_seconds`.

    `losses` says in words what of the input is not in the output.
    """

    job: Job
    sample_rate: int
    channels: int
    audio_seconds: float
    elapsed_seconds: float
    losses: tuple[str, ...] = ()

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

    The output has the rate and channels of the input; its suffix decides its format. `progress` is
    called with the share that is done, 0 to 1; what it raises ends the work. After an error no
    partial file is left. What is lost is logged in one line.
    """
    with spooled(job.source) as path:
        source = FileSource(path, str(job.source), warn=False)
        with delivered(job.target, job.suffix or suffix_like(source.audio_format)) as target:
            return _denoise(
                denoiser,
                source,
                FileWriter(target, source, str(job.target)),
                job,
                (restore_level, attenuation_limit),
                progress or (lambda job, share: None),
            )


def _denoise(
    denoiser: SourceDenoiser,
    source: FileSource,
    writer: FileWriter,
    job: Job,
    options: tuple[bool, float | None],
    show: Callable[[Job, float], None],
) -> FileResult:
    band = BandAbove(source, denoiser.manifest.sample_rate / 2)
    started = perf_counter()
    written = 0
    show(job, 0.0)
    with writer:
        for block in denoiser.stream(band, *options):
            writer.write(block)
            written += block.shape[1]
            show(job, written / source.frames)
    elapsed = perf_counter() - started
    if job.plot is not None:
        from frcrn_export.runtime.audio.spectrogram import plot_before_after

        with _plotting:
            plot_before_after(source.path, writer.path, job.plot)
    losses = (*filter(None, [band.loss()]), *writer.losses)
    if losses:
        logger.warning("%s: %s", source.name, "; ".join(losses))
    seconds = source.frames / source.sample_rate
    return FileResult(job, source.sample_rate, source.channels, seconds, elapsed, losses)
