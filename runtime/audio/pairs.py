"""Pairs of noisy and clean recordings: matching files, and reading them."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.folder import AudioFolder, find_audio
from frcrn_export.runtime.audio.resample import Resampled
from frcrn_export.runtime.errors import AudioError, UserError
from frcrn_export.runtime.text import quoted

_NOISY, _CLEAN = ".noisy", ".clean"
# The groups of all clips, and of those without "_" in their names.
ALL, OTHER = "all", "other"


@dataclass(frozen=True)
class Pair:
    """A noisy recording and its clean speech."""

    name: str
    noisy: Path
    clean: Path

    @property
    def group(self) -> str:
        """The prefix of the name up to the first "_"; empty without one.

        Keeps the "_" where the group would be named ALL or OTHER.
        """
        start, underscore, _ = self.name.partition("_")
        if not underscore:
            return ""
        return start + underscore * (start in (ALL, OTHER))


def find_pairs(folder: Path) -> list[Pair]:
    """Every `NAME.noisy.*` of a folder and its subfolders with its `NAME.clean.*`, by name.

    Raises UserError where there are none, one lacks its partner, or a name has two files.
    """
    noisy: dict[str, Path] = {}
    clean: dict[str, Path] = {}
    for path in _audio_in(folder).files:
        stem = path.relative_to(folder).with_suffix("")  # NAME.noisy
        for kind, found in ((_NOISY, noisy), (_CLEAN, clean)):
            if stem.suffix.lower() == kind:
                _add(found, stem.with_suffix("").as_posix(), path)
    if not noisy and not clean:
        raise UserError(
            f"{folder}: no pairs in this folder (NAME.noisy.wav with NAME.clean.wav); "
            "evaluate also takes two folders of equal names: --noisy FOLDER --clean FOLDER"
        )
    for name in sorted(noisy.keys() ^ clean.keys()):
        path = noisy.get(name) or clean[name]
        what, kind = ("clean speech", _CLEAN) if name in noisy else ("noisy recording", _NOISY)
        raise UserError(f"{path}: has no {what}; add {name}{kind}{path.suffix}, or remove it")
    return [Pair(name, noisy[name], clean[name]) for name in sorted(noisy)]


def match_folders(noisy: Path, clean: Path) -> list[Pair]:
    """Every recording of one folder with that of the same name (without suffix) in another.

    Raises UserError where there are none, one lacks its partner, or a name has two files.
    """
    found: list[dict[str, Path]] = [{}, {}]
    for folder, files in zip((noisy, clean), found, strict=True):
        audio = _audio_in(folder)
        for path in audio.files:
            _add(files, path.relative_to(folder).with_suffix("").as_posix(), path)
        if not files:
            raise UserError(f"{folder}: no audio in this folder{audio.but()}")
    for name in sorted(found[0].keys() ^ found[1].keys()):
        has, lacks = (found[0], clean) if name in found[0] else (found[1], noisy)
        raise UserError(f"{has[name]}: no file of that name in {lacks}; add it, or remove this one")
    return [Pair(name, found[0][name], found[1][name]) for name in sorted(found[0])]


@dataclass(frozen=True)
class PairAudio:
    """A pair in memory: [N] float32 each, at the requested rate."""

    noisy: Float32Array
    clean: Float32Array


def check_pair(pair: Pair) -> None:
    """Read both recordings once. Raises AudioError as `read_pair`."""
    read_pair(pair)


def read_pair(pair: Pair, sample_rate: int | None = None) -> PairAudio:
    """Both recordings at `sample_rate` Hz, resampled if needed; None: at their own rate.

    Raises AudioError where one cannot be read, is not finite, not mono or silent, and
    where they differ in sample rate or length.
    """
    noisy, clean = (_read(source, sample_rate or source.sample_rate) for source in _sources(pair))
    for samples, path, what in (
        (noisy, pair.noisy, "there is nothing to denoise"),
        (clean, pair.clean, "nothing can be measured against it"),
    ):
        if not samples.any():
            raise AudioError(f"{path}: silent, so {what}; remove this pair")
    return PairAudio(noisy, clean)


def _audio_in(folder: Path) -> AudioFolder:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {what}; give a folder with noisy and clean recordings")
    return find_audio(folder)


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    # Normalised: macOS writes "é" as "e" and an accent.
    name = unicodedata.normalize("NFC", name)
    if name in found:
        raise UserError(f"{path}: {found[name].name} has the same name; remove one of them")
    found[name] = path


def _sources(pair: Pair) -> tuple[FileSource, FileSource]:
    noisy, clean = FileSource(pair.noisy), FileSource(pair.clean)
    for source in (noisy, clean):
        if source.channels != 1:
            raise AudioError(
                f"{source.path}: {source.channels} channels, quality is measured on one; "
                f"make it mono: ffmpeg -i {quoted(source.path)} -ac 1 mono.wav"
            )
    if noisy.sample_rate != clean.sample_rate:
        raise AudioError(
            f"{pair.name}: noisy at {noisy.sample_rate} Hz, clean at {clean.sample_rate} Hz; "
            f"resample one: ffmpeg -i {quoted(clean.path)} -ar {noisy.sample_rate} "
            "resampled.wav"
        )
    if noisy.frames != clean.frames:
        raise AudioError(
            f"{pair.name}: noisy has {noisy.frames} samples, clean {clean.frames}; "
            "align them and cut both to one length"
        )
    return noisy, clean


def _read(source: FileSource, sample_rate: int) -> Float32Array:
    same = source.sample_rate == sample_rate
    blocks = (source if same else Resampled(source, sample_rate)).blocks()
    samples: Float32Array = np.concatenate(list(blocks), axis=1)[0]
    return samples
