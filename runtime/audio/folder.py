"""Audio in folders: which files, which output belongs to which input, and denoising them."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Protocol

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource, FileWriter
from frcrn_export.runtime.audio.source import AudioSource
from frcrn_export.runtime.errors import UserError

logger = logging.getLogger(__name__)

# Suffixes by libsndfile's name of the format. RAW has no header, and a MATLAB file is seldom audio:
# those two are read only when named, never found in a folder.
_SUFFIXES = {
    "AIFF": (".aif", ".aifc", ".aiff"),
    "AU": (".au", ".snd"),
    "IRCAM": (".ircam", ".sf"),
    "NIST": (".nist", ".sph"),
    "OGG": (".oga", ".ogg", ".opus"),
    "RAW": (),
    "MAT4": (),
    "MAT5": (),
    "SVX": (".8svx", ".iff", ".svx"),
    "WAV": (".wav", ".wave"),
}
# Audio that libsndfile does not read: reported, where other files are ignored in silence.
_FOREIGN = {
    *(".3gp", ".aac", ".ac3", ".aax", ".amr", ".ape", ".dff", ".dsf", ".dts", ".m4a", ".m4b"),
    *(".mka", ".mkv", ".mov", ".mp4", ".mpc", ".ra", ".spx", ".tta", ".webm", ".wma", ".wv"),
}


@lru_cache(maxsize=1)
def audio_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of the files that are taken from a folder."""
    import soundfile

    formats = soundfile.available_formats()
    return frozenset(s for name in formats for s in _SUFFIXES.get(name, (f".{name.lower()}",)))


@dataclass(frozen=True)
class AudioFolder:
    """The audio files in a folder and its subfolders, sorted by path.

    `left_out` counts the other files that look like audio, by reason.
    """

    files: tuple[Path, ...]
    left_out: Mapping[str, int]

    def but(self) -> str:
        """The end of an error "no audio": what was left out and why, or which formats are read."""
        return f" but {_said(self.left_out)}" if self.left_out else " (WAV, FLAC, OGG, MP3, ...)"


def find_audio(folder: Path, except_in: Path | None = None) -> AudioFolder:
    """Find the audio in a folder, and log in one line what is left out.

    Takes every file with a suffix that libsndfile reads. Follows links, and visits each folder
    once. Leaves out hidden files and folders (".name"; "._name" are macOS's resource forks) and the
    folder `except_in`.
    """
    left_out: Counter[str] = Counter()
    files = tuple(sorted(_walk(folder, except_in, left_out)))
    found = AudioFolder(files, left_out)
    if left_out:
        logger.warning("%s: left out %s", folder, _said(left_out))
    return found


def _walk(folder: Path, except_in: Path | None, left_out: Counter[str]) -> Iterator[Path]:
    seen = {_identity(except_in)} if except_in is not None and except_in.is_dir() else set()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        # Links come last: a file in the folder itself keeps its own path.
        current, linked = (waiting.pop(), False) if waiting else (links.pop(0), True)
        try:
            identity = _identity(current)
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            left_out["folders that cannot be read"] += 1
            continue
        if identity in seen:
            left_out["linked folders that are looked through already"] += linked
            continue
        seen.add(identity)
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir():
                if entry.name.startswith("."):
                    left_out["hidden folders"] += 1
                else:
                    (links if entry.is_symlink() else waiting).append(path)
            elif why := _why_not(path):
                left_out[why] += 1
            elif path.suffix.lower() in audio_suffixes():
                yield path


def _why_not(path: Path) -> str:
    """Why a file that looks like audio is not taken; empty for all other files."""
    suffix = path.suffix.lower()
    if suffix not in _FOREIGN | audio_suffixes():
        return ""
    if path.name.startswith("."):
        return "hidden files"
    if suffix in _FOREIGN - audio_suffixes():
        return f"{suffix} files, which libsndfile does not read (convert them to WAV or FLAC)"
    return "" if path.is_file() else "links or devices without a file"


def _said(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


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

    A single input file is written to `output` itself, unless that is a folder or has no suffix.
    Otherwise `output` is a folder, created if needed: files keep their names, and files of an input
    folder their relative paths. Pictures lie beside the outputs, as `NAME.png`. Raises UserError
    for a missing input, and for an output that exists (without `force`), that is an input, or that
    two inputs share.
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
    if output.is_file() or (output.suffix.lower() in audio_suffixes() and not is_folder):
        raise UserError(f"{output}: several inputs need a folder for their outputs: -o FOLDER")
    return [pair for path in inputs for pair in _pairs_in(path, output)]


def _pairs_in(path: Path, output: Path) -> list[tuple[Path, Path]]:
    if path.is_file():
        return [(path, output / path.name)]
    found = find_audio(path, except_in=output)
    if not found.files:
        raise UserError(f"{path}: no audio in this folder{found.but()}")
    return [(file, output / file.relative_to(path)) for file in found.files]


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
