"""Denoising files and folders: which output belongs to which input, and making it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Protocol

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource, FileWriter
from frcrn_export.runtime.audio.source import AudioSource
from frcrn_export.runtime.errors import UserError

# What is taken from a folder; a file that is named by itself may have any suffix.
AUDIO_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"))


@lru_cache(maxsize=1)
def _readable_suffixes() -> frozenset[str]:
    import soundfile

    formats = {f".{name.lower()}" for name in soundfile.available_formats()}
    return AUDIO_SUFFIXES | formats - {".raw"}


def is_audio(path: Path) -> bool:
    """Whether a file's suffix is one that libsndfile reads, and its name no hidden one."""
    readable = path.suffix.lower() in _readable_suffixes()
    return readable and not path.name.startswith(".") and path.is_file()


class SourceDenoiser(Protocol):
    """A `Denoiser`, or what takes its place."""

    def stream(self, source: AudioSource, restore_level: bool = True) -> Iterator[Float32Array]:
        """Blocks [C, n] at the source's rate that put end to end have its length."""


@dataclass(frozen=True)
class Job:
    """One file to denoise, where the result goes, and where its picture goes if one is wanted."""

    source: Path
    target: Path
    plot: Path | None = None


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


def plan_jobs(
    inputs: Sequence[Path], output: Path, *, force: bool = False, plot: bool = False
) -> list[Job]:
    """Pair every input file with its output.

    One input file goes to `output` itself, unless that is a folder or has no suffix. Otherwise
    `output` is a folder, made if need be: files go into it under their own names, and what lies in
    an input folder keeps its place. Pictures lie beside the outputs, as `NAME.png`. Raises
    UserError for a missing input, and for an output that exists (without `force`), that is an
    input, or that two inputs share.
    """
    pairs = _pairs(inputs, output)
    jobs = [Job(source, to, to.with_suffix(".png") if plot else None) for source, to in pairs]
    _check_outputs(jobs, force)
    return jobs


def _pairs(inputs: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
    is_folder = output.is_dir()
    if len(inputs) == 1 and inputs[0].is_file() and output.suffix and not is_folder:
        return [(inputs[0], output)]
    if output.is_file() or (output.suffix.lower() in AUDIO_SUFFIXES and not is_folder):
        raise UserError(f"{output}: several inputs need a folder for their outputs: -o FOLDER")
    return [pair for path in inputs for pair in _pairs_in(path, output)]


def _pairs_in(path: Path, output: Path) -> list[tuple[Path, Path]]:
    if path.is_file():
        return [(path, output / path.name)]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in AUDIO_SUFFIXES
        and file.is_file()
        and output.resolve() not in file.resolve().parents
    )
    if not found:
        raise UserError(f"{path}: no audio in this folder ({', '.join(sorted(AUDIO_SUFFIXES))})")
    return [(file, output / file.relative_to(path)) for file in found]


def _check_outputs(jobs: Sequence[Job], force: bool) -> None:
    sources = {job.source.resolve() for job in jobs}
    seen: set[Path] = set()
    for job in jobs:
        for path in (job.target, job.plot):
            if path is None:
                continue
            if path.resolve() in sources:
                raise UserError(f"{path}: is an input; choose another output with -o")
            if path.resolve() in seen:
                raise UserError(f"{path}: two inputs would be written here; run them one by one")
            if path.is_dir():
                raise UserError(f"{path}: is a folder; choose another output with -o")
            if path.exists() and not force:
                raise UserError(f"{path}: exists already; add --force to replace it")
            seen.add(path.resolve())


def denoise_files(
    denoiser: SourceDenoiser,
    jobs: Sequence[Job],
    *,
    restore_level: bool = True,
    progress: Callable[[Job, float], None] | None = None,
) -> Iterator[FileResult]:
    """Denoise the files one after the other, each result as it is done.

    Outputs have the rate, channels and subtype of their inputs. `progress` is told the share of a
    file that is done, 0 to 1. An error stops at its file: the files before it stay, and nothing
    half-written does.
    """
    for job in jobs:
        yield _denoise_file(denoiser, job, restore_level, progress or (lambda job, share: None))


def _denoise_file(
    denoiser: SourceDenoiser, job: Job, restore_level: bool, progress: Callable[[Job, float], None]
) -> FileResult:
    source = FileSource(job.source)
    started = perf_counter()
    written = 0
    progress(job, 0.0)
    with FileWriter(job.target, like=source) as writer:
        for block in denoiser.stream(source, restore_level):
            writer.write(block)
            written += block.shape[1]
            progress(job, written / source.frames)
    elapsed = perf_counter() - started
    if job.plot is not None:
        from frcrn_export.runtime.audio.spectrogram import plot_before_after

        plot_before_after(job.source, job.target, job.plot)
    seconds = source.frames / source.sample_rate
    return FileResult(job, source.sample_rate, source.channels, seconds, elapsed)
