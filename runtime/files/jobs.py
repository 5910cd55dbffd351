"""Jobs: which output belongs to which input, checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frcrn_export.runtime.audio.folder import find_audio
from frcrn_export.runtime.audio.formats import audio_suffixes
from frcrn_export.runtime.errors import UserError


@dataclass(frozen=True)
class Job:
    """One file to denoise, where the result goes, and where its picture goes if one is wanted."""

    source: Path
    target: Path
    plot: Path | None = None


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
