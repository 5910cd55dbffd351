"""Augmentation of recordings: random EQ, band limits, clipping, plain noise."""

import numpy as np
import numpy.typing as npt

from frcrn_export.exporters.training_task import SAMPLE_RATE
from frcrn_export.runtime.arrays import Float32Array

BANDS_HZ = (60.0, 250.0, 1000.0, 4000.0, 8000.0)  # frequencies of the random EQ


def random_eq(rng: np.random.Generator, audio: Float32Array, limit_db: float) -> Float32Array:
    """`audio` [N] through a random smooth equaliser of up to +-`limit_db`."""
    gains_db = rng.uniform(-limit_db, limit_db, len(BANDS_HZ))
    frequencies = _frequencies(len(audio))
    curve_db = np.interp(np.log(frequencies + 1.0), np.log(BANDS_HZ), gains_db)
    return _filtered(audio, 10.0 ** (curve_db / 20.0)).astype(np.float32)


def limit_band(audio: Float32Array, highest_hz: float) -> Float32Array:
    """`audio` [N] low-passed at `highest_hz`, as by a telephone or a codec."""
    frequencies = _frequencies(len(audio))
    edge = np.clip((1.05 * highest_hz - frequencies) / (0.1 * highest_hz), 0.0, 1.0)
    return _filtered(audio, np.square(np.sin(0.5 * np.pi * edge))).astype(np.float32)


def clip(audio: Float32Array, share: float) -> Float32Array:
    """`audio` [N] clipped at the magnitude that a `share` of its samples exceeds."""
    ceiling = np.float32(np.quantile(np.abs(audio), 1.0 - share))
    return np.clip(audio, -ceiling, ceiling).astype(np.float32)


def plain_noise(rng: np.random.Generator, samples: int, slope_db: float) -> Float32Array:
    """Gaussian noise [samples], falling by `slope_db` an octave: 0 is white, 3 pink, 6 brown."""
    gain = np.maximum(_frequencies(samples), 40.0) ** (-slope_db / (20.0 * np.log10(2.0)))
    audio = _filtered(rng.standard_normal(samples), gain)
    level = np.sqrt(np.mean(np.square(audio)))
    return np.asarray(0.05 * audio / level, np.float32)


def _frequencies(samples: int) -> npt.NDArray[np.floating]:
    """The frequency in Hz of each bin of a spectrum of this many samples."""
    return np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE)


def _filtered(
    audio: npt.NDArray[np.floating], gain: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """`audio` [N] filtered by a gain for each bin of its spectrum."""
    return np.fft.irfft(np.fft.rfft(audio) * gain, len(audio))
