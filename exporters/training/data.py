"""Clean speech and noise from folders, mixed on the fly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from frcrn_export.runtime.errors import AudioError, UserError

SAMPLE_RATE = 16000  # Hz
AUDIO_SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")
NOISE_BANDS_HZ = (60.0, 250.0, 1000.0, 4000.0, 8000.0)  # where the random colour has its corners

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MixRecipe:
    """What is drawn at random for each example; pairs are the ends of uniform ranges."""

    seconds: float = 2.0
    snr_db: tuple[float, float] = (-5.0, 15.0)
    lowest_peak_db: float = -25.0  # of the noisy crop; most are near 0
    speed: tuple[float, float] = (0.9, 1.1)
    colour_db: float = 6.0  # largest gain or cut of a noise band
    second_noise: float = 0.25  # how often two noises play together
    noise_only: float = 0.03  # how often nobody speaks

    @property
    def samples(self) -> int:
        return round(self.seconds * SAMPLE_RATE)


def load_folder(folder: Path) -> list[FloatArray]:
    """Every audio file under `folder`, in the order of the paths, as mono float32 at 16 kHz.

    Raises UserError for a folder without audio, AudioError for an unreadable, empty or silent file.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if len(paths) < 2:
        raise UserError(
            f"{folder} holds {len(paths)} audio files ({' '.join(AUDIO_SUFFIXES)}); "
            "training needs two or more, to hold some out for validation"
        )
    return [load_clip(path) for path in paths]


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


def split(
    clips: Sequence[FloatArray], fraction: float, seed: int
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Whole files for training and for validation, one or more each; a seed always splits alike."""
    order = np.random.default_rng(seed).permutation(len(clips))
    held_out = min(max(1, round(fraction * len(clips))), len(clips) - 1)
    return [clips[i] for i in sorted(order[held_out:])], [clips[i] for i in order[:held_out]]


def mix(speech: FloatArray, noise: FloatArray, snr_db: float) -> FloatArray:
    """Speech plus noise at `snr_db`, by the RMS of both over the whole crop; the speech is kept.

    Where either is silent there is no ratio, and they are added as they are.
    """
    speech_power = float(np.mean(np.square(speech, dtype=np.float64)))
    noise_power = float(np.mean(np.square(noise, dtype=np.float64)))
    gain = 1.0
    if speech_power > 0.0 and noise_power > 0.0:
        gain = np.sqrt(speech_power / noise_power) * 10.0 ** (-snr_db / 20.0)
    return (speech + gain * noise).astype(np.float32)


def crop(rng: np.random.Generator, clips: Sequence[FloatArray], samples: int) -> FloatArray:
    """`samples` in a row from a random place of a random clip; short clips are joined."""
    pieces: list[FloatArray] = []
    missing = samples
    while missing > 0:
        clip = clips[int(rng.integers(len(clips)))]
        start = int(rng.integers(max(1, len(clip) - missing + 1)))
        pieces.append(clip[start : start + missing])
        missing -= len(pieces[-1])
    return np.concatenate(pieces)


def crop_at_speed(
    rng: np.random.Generator,
    clips: Sequence[FloatArray],
    samples: int,
    speed: tuple[float, float],
) -> FloatArray:
    """A crop played at a random speed (pitch and tempo together)."""
    factor = rng.uniform(*speed)
    source = crop(rng, clips, int(samples * factor) + 16)
    played = soxr.resample(source, SAMPLE_RATE * factor, SAMPLE_RATE, quality="LQ")
    return np.asarray(played[:samples], dtype=np.float32)


def colour(rng: np.random.Generator, noise: FloatArray, limit_db: float) -> FloatArray:
    """The noise through a random smooth equaliser of up to +-`limit_db`: few clips go further."""
    gains_db = rng.uniform(-limit_db, limit_db, len(NOISE_BANDS_HZ))
    frequencies = np.fft.rfftfreq(len(noise), 1.0 / SAMPLE_RATE)
    curve_db = np.interp(np.log(frequencies + 1.0), np.log(NOISE_BANDS_HZ), gains_db)
    spectrum = np.fft.rfft(noise) * 10.0 ** (curve_db / 20.0)
    return np.fft.irfft(spectrum, len(noise)).astype(np.float32)


def draw_example(
    rng: np.random.Generator,
    speech: Sequence[FloatArray],
    noise: Sequence[FloatArray],
    recipe: MixRecipe,
) -> tuple[FloatArray, FloatArray]:
    """One random (noisy, clean) pair of [recipe.samples] float32."""
    n = recipe.samples
    clean = crop_at_speed(rng, speech, n, recipe.speed)
    background = colour(rng, crop_at_speed(rng, noise, n, recipe.speed), recipe.colour_db)
    if rng.random() < recipe.second_noise:
        second = crop_at_speed(rng, noise, n, recipe.speed)
        background = mix(background, second, rng.uniform(-10.0, 10.0))
    if rng.random() < recipe.noise_only:
        clean = np.zeros_like(clean)
    noisy = mix(clean, background, rng.uniform(*recipe.snr_db))
    # The pipeline divides by the peak of the whole file: a click there leaves the rest quiet.
    peak = 10.0 ** (recipe.lowest_peak_db * rng.random() ** 2 / 20.0)
    level = peak / max(float(np.abs(noisy).max()), 1e-6)
    return noisy * np.float32(level), clean * np.float32(level)


def draw_batch(
    seed: Sequence[int],
    speech: Sequence[FloatArray],
    noise: Sequence[FloatArray],
    recipe: MixRecipe,
    size: int,
) -> tuple[FloatArray, FloatArray]:
    """(noisy, clean) of [size, 1, recipe.samples] float32; the same for the same seed."""
    rng = np.random.default_rng(list(seed))
    examples = [draw_example(rng, speech, noise, recipe) for _ in range(size)]
    noisy, clean = zip(*examples, strict=True)
    return np.stack(noisy)[:, None], np.stack(clean)[:, None]
