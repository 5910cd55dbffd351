"""Recordings from folders: reading them, who speaks in them, and which are held out."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from frcrn_export.exporters.registry import SAMPLE_RATE
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.folder import is_audio
from frcrn_export.runtime.errors import AudioError, UserError


@dataclass(frozen=True)
class Recording:
    """Mono float32 at 16 kHz, and the speaker (or the noise) that it is of."""

    audio: Float32Array
    source: str

    def __len__(self) -> int:
        return len(self.audio)


def load_folder(folder: Path) -> list[Recording]:
    """Every audio file under `folder`, in the order of the paths; none whose name begins with ".".

    Raises UserError for a folder without audio, AudioError as `load_clip` does.
    """
    names = [
        name
        for name in sorted(path.relative_to(folder) for path in folder.rglob("*"))
        if is_audio(folder / name) and not any(part.startswith(".") for part in name.parts)
    ]
    if len(names) < 2:
        raise UserError(
            f"{folder} holds {len(names)} audio files (WAV, FLAC, OGG, MP3, ...); "
            "training needs two or more, to hold some out for validation"
        )
    return [Recording(load_clip(folder / name), source_of(name)) for name in names]


def load_clip(path: Path) -> Float32Array:
    """One file as mono float32 at 16 kHz.

    Raises AudioError for a file that cannot be read, is truncated, empty, silent or not finite.
    """
    source = FileSource(path)
    clip: Float32Array = np.concatenate(list(source.blocks()), axis=1).mean(axis=0)  # [N]
    if source.sample_rate != SAMPLE_RATE:
        clip = soxr.resample(clip, source.sample_rate, SAMPLE_RATE).astype(np.float32)
    if not clip.any():
        raise AudioError(f"{path}: silent; remove it from the folder")
    return clip


def source_of(path: Path) -> str:
    """Who speaks in a file: what its name begins with, where a folder above is called so; else the
    folder it is in; else, without one, its name up to the last number.

    So 1034/121119/1034-121119-0049.flac is of 1034, more/ann/1.wav of more/ann, p225_003.wav,
    p225_004.wav and p225_005_mic1.flac of p225.
    """
    first = re.split("[-_]", path.stem, maxsplit=1)[0]
    if first in path.parts[:-1]:
        return first
    if len(path.parts) > 1:
        return path.parent.as_posix()
    return re.sub(r"(?<=.)[-_ .]\d+(_mic\d)?$", "", path.stem)


def choose_held_out(recordings: Sequence[Recording], share: float, seed: int) -> list[str]:
    """The sources to hold out for validation; the same for the same sources and seed.

    They are `share` of all, one or more; as many are left. Raises UserError where all recordings
    are of one source.
    """
    sources = sorted({recording.source for recording in recordings})
    if len(sources) < 2:
        raise UserError(
            f"all {len(recordings)} files seem to be of one source ({sources[0]!r}): none can be "
            "held out for validation; put the files of each speaker into a folder of their own"
        )
    order = np.random.default_rng(seed).permutation(len(sources))
    count = min(max(1, round(share * len(sources))), len(sources) - 1)
    return sorted(sources[i] for i in order[:count])


def split(
    recordings: Sequence[Recording], held_out: Collection[str]
) -> tuple[list[Float32Array], list[Float32Array]]:
    """Audio for training and for validation, which is that of the sources `held_out`."""
    training = [each.audio for each in recordings if each.source not in held_out]
    return training, [each.audio for each in recordings if each.source in held_out]
