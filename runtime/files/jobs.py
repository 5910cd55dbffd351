"""Jobs: which output belongs to which input, checked before any work."""

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.folder import find_audio
from frcrn_export.runtime.audio.formats import audio_suffixes, check_suffix, output_format
from frcrn_export.runtime.audio.spool import STANDARD, is_stream
from frcrn_export.runtime.errors import UserError, reason

# What to do where an output exists: raise, replace it, or leave it if it is complete.
Existing = Literal["refuse", "replace", "skip"]


@dataclass(frozen=True)
class Job:
    """One file to denoise, where the result goes, and where its picture goes if one is wanted.

    Both may be streams: "-", a pipe or a device. `suffix` is the format of what goes into a stream,
    ".flac" for FLAC; "" stands for the input's.
    """

    source: Path
    target: Path
    plot: Path | None = None
    suffix: str = ""


@dataclass(frozen=True)
class Plan:
    """The jobs of a run, sorted as their inputs are.

    Attributes:
        jobs: All of them.
        skipped: Those whose outputs are complete already.
        left_out: How many files of the input folders are no jobs, by reason.
    """

    jobs: tuple[Job, ...]
    skipped: frozenset[Job]
    left_out: Mapping[str, int]

    @property
    def waiting(self) -> list[Job]:
        """The jobs to do."""
        return [job for job in self.jobs if job not in self.skipped]


def plan_jobs(
    inputs: Sequence[Path],
    output: Path,
    *,
    existing: Existing = "refuse",
    plot: bool = False,
    suffix: str = "",
) -> Plan:
    """Pair every input file with its output.

    A single input file is written to `output` itself, unless that is a folder or has no suffix.
    Otherwise `output` is a folder, created if needed: files keep their names, and files of an input
    folder their relative paths; what comes from standard input is called "stdin". Pictures lie
    beside the outputs, as `NAME.png`. `suffix` is the format for an output that is a stream.

    Raises UserError for a missing input, for an output that exists (unless `existing` says
    otherwise), that is an input, or that two inputs share, where nothing can be written to the
    folder of `output`, and where the format of a single output cannot be written.
    """
    left_out: Counter[str] = Counter()
    pairs = _pairs(inputs, output, left_out)
    if is_stream(output):
        jobs: tuple[Job, ...] = (Job(*pairs[0], suffix=suffix),)
        _check_format(jobs[0])
        return Plan(jobs, frozenset(), left_out)
    jobs = tuple(Job(source, to, to.with_suffix(".png") if plot else None) for source, to in pairs)
    _check_outputs(jobs, existing)
    if len(jobs) == 1:
        _check_format(jobs[0])
    skipped = frozenset(filter(_is_complete, jobs)) if existing == "skip" else frozenset[Job]()
    if len(skipped) < len(jobs):
        _check_writable(output)
    return Plan(jobs, skipped, left_out)


def _pairs(inputs: Sequence[Path], output: Path, left_out: Counter[str]) -> list[tuple[Path, Path]]:
    for path in inputs:
        if path != STANDARD:
            _check_input(path)
    is_folder, is_file = _what_is(output)
    single = len(inputs) == 1 and (inputs[0].is_file() or is_stream(inputs[0]))
    if is_stream(output) and not single:
        raise UserError(f"{output}: takes one file; give a folder for several: -o FOLDER")
    if single and (is_stream(output) or (output.suffix and not is_folder)):
        return [(inputs[0], output)]
    if is_file or (output.suffix.lower() in audio_suffixes() and not is_folder):
        raise UserError(f"{output}: several inputs need a folder for their outputs: -o FOLDER")
    return [pair for path in inputs for pair in _pairs_in(path, output, left_out)]


def _check_input(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: no such file or folder") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({reason(error)})") from error


def _pairs_in(path: Path, output: Path, left_out: Counter[str]) -> list[tuple[Path, Path]]:
    if is_stream(path):
        return [(path, output / f"{'stdin' if path == STANDARD else path.name}.wav")]
    if path.is_file():
        return [(path, output / path.name)]
    if output.is_dir() and output.samefile(path):
        raise UserError(f"{output}: is an input; choose another output with -o")
    found = find_audio(path, except_in=output)
    if not found.files:
        raise UserError(f"{path}: no audio in this folder{found.but()}")
    left_out.update(found.left_out)
    return [(file, output / file.relative_to(path)) for file in found.files]


def _check_outputs(jobs: Sequence[Job], existing: Existing) -> None:
    sources = {os.path.realpath(job.source) for job in jobs}
    taken: dict[str, Path] = {}
    for job in jobs:
        for path in filter(None, (job.target, job.plot)):
            real = os.path.realpath(path)
            if real in sources:
                raise UserError(f"{path}: is an input; choose another output with -o")
            if real in taken:
                raise UserError(
                    f"{path}: {taken[real]} and {job.source} would both be written here; "
                    "denoise one of them into another folder"
                )
            _check_output(path, existing)
            taken[real] = job.source


def _check_output(path: Path, existing: Existing) -> None:
    is_folder, is_file = _what_is(path)
    if is_folder:
        raise UserError(f"{path}: is a folder; choose another output with -o")
    if existing == "refuse" and is_file:
        raise UserError(
            f"{path}: exists already; add --skip-existing to leave what is done, "
            "or --force to replace it"
        )


def _what_is(output: Path) -> tuple[bool, bool]:
    """Whether an output is a folder, and whether it is anything else that exists.

    Raises UserError where no file can have this path.
    """
    try:
        mode = output.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False, False
    except OSError as error:
        raise UserError(
            f"{output}: cannot be written ({reason(error)}); choose another output with -o"
        ) from error
    return stat.S_ISDIR(mode), not stat.S_ISDIR(mode)


def _check_format(job: Job) -> None:
    """Raise AudioError where the output cannot be written in its format."""
    target = job.target
    if is_stream(target):
        target = Path(f"output{job.suffix or '.wav'}")
    check_suffix(target)
    if is_stream(job.source):
        return
    try:
        source = FileSource(job.source, warn=False)
    except UserError:
        return  # said when its turn comes
    if job.suffix or target is job.target:
        output_format(target, source, source.audio_format)


def _is_complete(job: Job) -> bool:
    """Whether all outputs of a job exist, the audio readable and not truncated."""
    if not job.target.exists() or (job.plot is not None and not job.plot.exists()):
        return False
    try:
        return not FileSource(job.target, warn=False).losses
    except UserError:
        return False


def _check_writable(output: Path) -> None:
    """Raise UserError where no file can be made in the folder of the outputs."""
    from tempfile import TemporaryFile

    folder = output if output.is_dir() else output.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({reason(error)}); choose another output with -o"
        ) from error
