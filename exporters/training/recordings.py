"""Recordings from folders: reading them, who speaks in them, and which are held out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from frcrn_export.exporters.training.augment import SAMPLE_RATE, FloatArray
from frcrn_export.runtime.errors import AudioError, UserError

AUDIO_SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")


@dataclass(frozen=True)
class Recording:
    """Mono float32 at 16 kHz, and the speaker (or the noise) that it is of."""

    audio: FloatArray
    source: str

    def __len__(self) -> int:
        return len(self.audio)


def load_folder(folder: Path) -> list[Recording]:
    """Every audio file under `folder`, in the order of the paths.

    Raises UserError for a folder without audio, AudioError for an unreadable, empty or silent file.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if len(paths) < 2:
        raise UserError(
            f"{folder} holds {len(paths)} audio files ({' '.join(AUDIO_SUFFIXES)}); "
            "training needs two or more, to hold some out for validation"
        )
    return [Recording(load_clip(path), source_of(path.relative_to(folder))) for path in paths]


def load_clip(path: Path) -> FloatArray:
    """One file as mono float32 at 16 kHz. Raises AudioError as `load_folder` does."""
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot read {path}: {error}; remove it or convert it to WAV") from error
    clip: FloatArray = audio.mean(axis=1)
    if rate != SAMPLE_RATE:
        clip = soxr.resample(clip, rate, SAMPLE_RATE).astype(np.float32)
    if not np.isfinite(clip).all() or not clip.any():
        raise AudioError(f"{path} is empty, silent or not finite; remove it from the folder")
    return clip


def source_of(path: Path) -> str:
    """Who speaks in a file: the folder it is in, else its name up to the last number.

    So 1034/121119/1034-121119-0049.flac is of 1034, p225_003.wav and p225_004.wav are of p225.
    """
    if len(path.parts) > 1:
        return path.parts[0]
    return re.sub(r"(?<=.)[-_ .]\d+$", "", path.stem)


def split(
    recordings: Sequence[Recording], share: float, seed: int
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Audio for training and for validation, of different sources; a seed always splits alike.

    `share` of the sources are held out, one or more; as many are left. Raises UserError where all
    recordings are of one source.
    """
    sources = sorted({recording.source for recording in recordings})
    if len(sources) < 2:
        raise UserError(
            f"all {len(recordings)} files seem to be of one source ({sources[0]!r}): none can be "
            "held out for validation; put the files of each speaker into a folder of their own"
        )
    order = np.random.default_rng(seed).permutation(len(sources))
    count = min(max(1, round(share * len(sources))), len(sources) - 1)
    held_out = {sources[i] for i in order[:count]}
    training = [each.audio for each in recordings if each.source not in held_out]
    return training, [each.audio for each in recordings if each.source in held_out]
