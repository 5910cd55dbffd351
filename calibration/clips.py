"""Calibration recordings: found, read, checked, and selected evenly over level and noise."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType

import numpy as np

from frcrn_export.calibration.settings import CLIPS
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.folder import find_audio
from frcrn_export.runtime.audio.level import TARGET_RMS, measure_gain
from frcrn_export.runtime.audio.resample import Resampled
from frcrn_export.runtime.errors import AudioError, UserError

# Peak activations of the default network compared with those of 128 clips, mean and worst tenth: 32
# clips are 0.2 and 0.6 dB off, 16 clips 0.9 and 3.3 dB, 8 clips 2.3 and 4.4 dB.
FEWEST_CLIPS = 32
# Width of a class of similar clips.
_LEVEL_STEP_DB, _SNR_STEP_DB = 6.0, 10.0
SHORTEST_SECONDS = 1.0
SILENCE_DB = -80.0  # dBFS; the level rules would amplify it to full-scale noise
_FLOOR_DB = -100.0  # dBFS, of digital silence
_FRAME_SECONDS = 0.02
_NAMES = 3  # in a message


@dataclass(frozen=True)
class Clip:
    """A mono recording. Measurements are made at the network's sample rate.

    `sha256` is `audio_sha256` of its samples. `level_db` is the active rms in dBFS, `snr_db` an
    estimate: the level of loud frames over that of quiet ones.
    """

    path: Path
    sha256: str
    seconds: float
    level_db: float
    snr_db: float


@dataclass(frozen=True)
class ClipSet:
    """The selected clips, ordered so that any prefix is spread over level and noise too."""

    clips: tuple[Clip, ...]
    sample_rate: int
    seed: int
    warnings: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The hash of the clips' hashes in their order: it identifies the calibration data."""
        return hashlib.sha256("".join(clip.sha256 for clip in self.clips).encode()).hexdigest()


def choose_clips(
    folders: Sequence[Path],
    sample_rate: int,
    *,
    count: int = CLIPS,
    seed: int = 0,
    refused: Mapping[str, Path] = MappingProxyType({}),
) -> ClipSet:
    """Select at most `count` recordings of folders, evenly over level and noise.

    Subfolders count too. The same audio and seed give the same selection, whatever the file names.
    Copies of a recording count once. `refused`: the evaluation clips, hash to file. Raises
    UserError where a folder is missing, no file is usable, or one is refused.
    """
    if count < 1:
        raise UserError(f"{count} calibration clips; give at least 1")
    usable: dict[str, Clip] = {}
    left_out: dict[str, list[Path]] = {}
    found: list[str] = []
    for path in _audio_in(folders):
        try:
            clip = _measure(path, sample_rate)
        except AudioError:
            left_out.setdefault("cannot be read", []).append(path)
            continue
        if clip.sha256 in refused:
            found.append(f"{path} is {refused[clip.sha256]}")
        elif clip.level_db < SILENCE_DB:
            left_out.setdefault("silent", []).append(path)
        elif clip.seconds < SHORTEST_SECONDS:
            left_out.setdefault(f"shorter than {SHORTEST_SECONDS:g} s", []).append(path)
        else:
            usable.setdefault(clip.sha256, clip)
    if found:
        raise UserError(
            f"calibration and evaluation share clips: {_some(found)}; "
            "remove them from the folder, or give another: --calib FOLDER"
        )
    reasons = [f"{why}: {_some(paths)}" for why, paths in left_out.items()]
    if not usable:
        raise UserError(
            f"no usable audio in {_some(folders)} ({'; '.join(reasons)}); give a folder with "
            f"{FEWEST_CLIPS} or more recordings of speech: --calib FOLDER"
        )
    chosen = _stratified(list(usable.values()), count, seed)
    warnings = [f"left out, {reason}" for reason in reasons]
    if len(chosen) < FEWEST_CLIPS:
        warnings.append(
            f"{len(chosen)} calibration clips; ranges need {FEWEST_CLIPS} or more, "
            f"{CLIPS} are better"
        )
    return ClipSet(tuple(chosen), sample_rate, seed, tuple(warnings))


def read_clip(clip: Clip, sample_rate: int) -> Float32Array:
    """The samples [N] at `sample_rate` Hz. Raises AudioError where the file has changed."""
    samples = read_audio(clip.path, sample_rate)
    if audio_sha256(samples) != clip.sha256:
        raise AudioError(f"{clip.path}: changed while it was used; run the command again")
    return samples


def audio_sha256(samples: Float32Array) -> str:
    """The hash of samples [N] as little-endian float32, independent of the file format."""
    return hashlib.sha256(np.ascontiguousarray(samples, "<f4").tobytes()).hexdigest()


def _audio_in(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "no such folder"
            raise UserError(f"{folder}: {what}; give a folder with recordings: --calib FOLDER")
        found = find_audio(folder)
        if not found.files:
            raise UserError(
                f"{folder}: no audio in this folder{found.but()}; "
                "give one with recordings: --calib FOLDER"
            )
        yield from found.files


def read_audio(path: Path, sample_rate: int) -> Float32Array:
    """The first channel of a file [N] at `sample_rate` Hz. Raises AudioError."""
    source = FileSource(path)
    same = source.sample_rate == sample_rate
    blocks = (source if same else Resampled(source, sample_rate)).blocks()
    return np.concatenate([block[0] for block in blocks])


def _measure(path: Path, sample_rate: int) -> Clip:
    samples = read_audio(path, sample_rate)
    gain = float(measure_gain(lambda: [samples[None]], "active_rms")[0])
    # A silent recording has gain 1.
    level = 20 * np.log10(TARGET_RMS / gain) if samples.any() else -np.inf
    seconds = len(samples) / sample_rate
    return Clip(path, audio_sha256(samples), seconds, float(level), _snr(samples, sample_rate))


def _snr(samples: Float32Array, sample_rate: int) -> float:
    """The 95th percentile of frame levels over the 10th, in dB."""
    length = min(round(_FRAME_SECONDS * sample_rate), len(samples))
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    quiet, loud = np.percentile(np.maximum(power, 10 ** (_FLOOR_DB / 10)), (10, 95))
    return float(10 * np.log10(loud / quiet))


def _stratified(clips: list[Clip], count: int, seed: int) -> list[Clip]:
    """Take one clip of each class of level and noise in turn, until all are taken."""
    clips = sorted(clips, key=lambda clip: clip.sha256)
    classes: dict[tuple[int, int], list[Clip]] = {}
    for index in np.random.default_rng(seed).permutation(len(clips)):
        clip = clips[index]
        level, snr = clip.level_db // _LEVEL_STEP_DB, clip.snr_db // _SNR_STEP_DB
        classes.setdefault((int(level), int(snr)), []).append(clip)
    turns = zip_longest(*classes.values())
    return [clip for turn in turns for clip in turn if clip is not None][:count]


def _some(names: Iterable[object]) -> str:
    """The first few names, and how many more there are."""
    listed = [str(name) for name in names]
    more = len(listed) - _NAMES
    return ", ".join(listed[:_NAMES]) + (f" and {more} more" if more > 0 else "")
