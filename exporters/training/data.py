"""Examples for training: clean speech and noise, mixed on the fly."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr

from frcrn_export.exporters.training.augment import clip, limit_band, plain_noise, random_eq
from frcrn_export.exporters.training.rooms import draw_room, reverberate
from frcrn_export.exporters.training_task import SAMPLE_RATE
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.folder import find_audio
from frcrn_export.runtime.errors import AudioError, UserError


@dataclass(frozen=True)
class Recording:
    """Mono float32 at 16 kHz, and its speaker (or kind of noise)."""

    audio: Float32Array
    source: str

    def __len__(self) -> int:
        return len(self.audio)


def load_folder(folder: Path) -> list[Recording]:
    """Every audio file under `folder`, in the order of the paths, as `find_audio` takes them.

    Raises UserError for a folder without audio, AudioError as `load_clip` does.
    """
    found = find_audio(folder)
    if len(found.files) < 2:
        raise UserError(
            f"{folder} holds {len(found.files)} audio files{found.but()}; "
            "training needs two or more, to hold some out for validation"
        )
    return [Recording(load_clip(path), source_of(path.relative_to(folder))) for path in found.files]


def load_clip(path: Path) -> Float32Array:
    """One file as mono float32 at 16 kHz.

    Raises AudioError for a file that cannot be read, is empty, silent or not finite.
    """
    source = FileSource(path)
    clip: Float32Array = np.concatenate(list(source.blocks()), axis=1).mean(axis=0)  # [N]
    if source.sample_rate != SAMPLE_RATE:
        clip = soxr.resample(clip, source.sample_rate, SAMPLE_RATE).astype(np.float32)
    if not clip.any():
        raise AudioError(f"{path}: silent; remove it from the folder")
    return clip


def source_of(path: Path) -> str:
    """The speaker of a file, from its path.

    The prefix of its name, if a parent folder has that name; else its folder; else its name up to
    the last number. So 1034/121119/1034-121119-0049.flac is of 1034, more/ann/1.wav of more/ann,
    p225_003.wav, p225_004.wav and p225_005_mic1.flac of p225.
    """
    first = re.split("[-_]", path.stem, maxsplit=1)[0]
    if first in path.parts[:-1]:
        return first
    if len(path.parts) > 1:
        return path.parent.as_posix()
    return re.sub(r"(?<=.)[-_ .]\d+(_mic\d)?$", "", path.stem)


def choose_held_out(recordings: Sequence[Recording], share: float, seed: int) -> list[str]:
    """The speakers (or noises) to hold out for validation; deterministic for a seed.

    They are `share` of all, at least one; at least one remains. Raises UserError where all
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
    return sorted(sources[i] for i in order[:count])


def split(
    recordings: Sequence[Recording], held_out: Collection[str]
) -> tuple[list[Float32Array], list[Float32Array]]:
    """Audio for training, and for validation that of the sources `held_out`."""
    training = [each.audio for each in recordings if each.source not in held_out]
    return training, [each.audio for each in recordings if each.source in held_out]


@dataclass(frozen=True)
class MixRecipe:
    """The random choices of each example.

    Pairs are the ends of uniform ranges; shares are probabilities, 0 to 1.
    """

    seconds: float = 2.0
    snr_db: tuple[float, float] = (-5.0, 20.0)
    lowest_peak_db: float = -25.0  # of the noisy crop; most crops are near 0
    speed: tuple[float, float] = (0.9, 1.1)
    speech_eq_db: float = 4.0  # largest gain or cut of a band
    noise_eq_db: float = 6.0
    room_share: float = 0.1  # the target keeps the reverberation: no dereverberation
    reverberation_s: tuple[float, float] = (0.15, 0.7)
    second_noise_share: float = 0.3
    plain_noise_share: float = 0.08  # white to brown, in place of a recording
    slope_db: tuple[float, float] = (0.0, 6.0)  # of plain noise, per octave
    noise_only_share: float = 0.03  # no speech
    nearly_clean_share: float = 0.06
    nearly_clean_db: tuple[float, float] = (20.0, 60.0)
    narrow_share: float = 0.06  # telephones and codecs; limits the target too
    highest_hz: tuple[float, float] = (3400.0, 7500.0)
    clipping_share: float = 0.03  # the target is not clipped
    clipped: tuple[float, float] = (0.0005, 0.01)  # of the samples

    @property
    def samples(self) -> int:
        return round(self.seconds * SAMPLE_RATE)

    def without_silence(self) -> "MixRecipe":
        """The same with speech in every example, as SI-SDR needs."""
        return replace(self, noise_only_share=0.0)


def mix(speech: Float32Array, noise: Float32Array, snr_db: float) -> Float32Array:
    """Unchanged speech plus noise at `snr_db`, by the RMS of both over the whole crop.

    If either is silent, they are added unscaled.
    """
    speech_power = float(np.mean(np.square(speech, dtype=np.float64)))
    noise_power = float(np.mean(np.square(noise, dtype=np.float64)))
    gain = 1.0
    if speech_power > 0.0 and noise_power > 0.0:
        gain = np.sqrt(speech_power / noise_power) * 10.0 ** (-snr_db / 20.0)
    return (speech + gain * noise).astype(np.float32)


def crop(rng: np.random.Generator, clips: Sequence[Float32Array], samples: int) -> Float32Array:
    """A random excerpt of `samples` of a random clip; short clips are joined."""
    pieces: list[Float32Array] = []
    missing = samples
    while missing > 0:
        clip = clips[int(rng.integers(len(clips)))]
        start = int(rng.integers(max(1, len(clip) - missing + 1)))
        pieces.append(clip[start : start + missing])
        missing -= len(pieces[-1])
    return np.concatenate(pieces)


def crop_at_speed(
    rng: np.random.Generator,
    clips: Sequence[Float32Array],
    samples: int,
    speed: tuple[float, float],
) -> Float32Array:
    """A crop played at a random speed (pitch and tempo together)."""
    factor = rng.uniform(*speed)
    source = crop(rng, clips, int(samples * factor) + 16)
    played = soxr.resample(source, SAMPLE_RATE * factor, SAMPLE_RATE, quality="LQ")
    return np.asarray(played[:samples], dtype=np.float32)


def draw_noise(
    rng: np.random.Generator, noise: Sequence[Float32Array], recipe: MixRecipe
) -> Float32Array:
    """[recipe.samples] of a randomly equalised crop of a recording, or of plain noise."""
    if rng.random() < recipe.plain_noise_share:
        return plain_noise(rng, recipe.samples, rng.uniform(*recipe.slope_db))
    played = crop_at_speed(rng, noise, recipe.samples, recipe.speed)
    return random_eq(rng, played, recipe.noise_eq_db)


def draw_speech(
    rng: np.random.Generator, speech: Sequence[Float32Array], recipe: MixRecipe
) -> Float32Array:
    """[recipe.samples] of randomly equalised speech, some of it reverberant; or of silence."""
    if rng.random() < recipe.noise_only_share:
        return np.zeros(recipe.samples, np.float32)
    played = crop_at_speed(rng, speech, recipe.samples, recipe.speed)
    clean = random_eq(rng, played, recipe.speech_eq_db)
    if rng.random() < recipe.room_share:
        clean = reverberate(clean, draw_room(rng, recipe.reverberation_s))
    return clean


def draw_example(
    rng: np.random.Generator,
    speech: Sequence[Float32Array],
    noise: Sequence[Float32Array],
    recipe: MixRecipe,
) -> tuple[Float32Array, Float32Array]:
    """One random (noisy, clean) pair of [recipe.samples] float32."""
    clean = draw_speech(rng, speech, recipe)
    background = draw_noise(rng, noise, recipe)
    if rng.random() < recipe.second_noise_share:
        background = mix(background, draw_noise(rng, noise, recipe), rng.uniform(-10.0, 10.0))
    nearly_clean = rng.random() < recipe.nearly_clean_share
    snr_db = rng.uniform(*(recipe.nearly_clean_db if nearly_clean else recipe.snr_db))
    noisy = mix(clean, background, snr_db)
    if rng.random() < recipe.narrow_share:
        highest_hz = rng.uniform(*recipe.highest_hz)
        noisy, clean = limit_band(noisy, highest_hz), limit_band(clean, highest_hz)
    if rng.random() < recipe.clipping_share:
        noisy = clip(noisy, rng.uniform(*recipe.clipped))
    # The pipeline divides by the peak of the whole file: a click there leaves the rest quiet.
    peak = 10.0 ** (recipe.lowest_peak_db * rng.random() ** 2 / 20.0)
    level = peak / max(float(np.abs(noisy).max()), 1e-6)
    return noisy * np.float32(level), clean * np.float32(level)


def draw_batch(
    seed: Sequence[int],
    speech: Sequence[Float32Array],
    noise: Sequence[Float32Array],
    recipe: MixRecipe,
    size: int,
) -> tuple[Float32Array, Float32Array]:
    """(noisy, clean) of [size, 1, recipe.samples] float32; the same for the same seed."""
    rng = np.random.default_rng(list(seed))
    examples = [draw_example(rng, speech, noise, recipe) for _ in range(size)]
    noisy, clean = zip(*examples, strict=True)
    return np.stack(noisy)[:, None], np.stack(clean)[:, None]
