"""What recordings go through on their way: equalisers, narrow bands, overload, plain noise."""

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16000  # Hz
BANDS_HZ = (60.0, 250.0, 1000.0, 4000.0, 8000.0)  # where a random colour has its corners

FloatArray = npt.NDArray[np.float32]


def colour(rng: np.random.Generator, audio: FloatArray, limit_db: float) -> FloatArray:
    """`audio` [N] through a random smooth equaliser of up to +-`limit_db`."""
    gains_db = rng.uniform(-limit_db, limit_db, len(BANDS_HZ))
    frequencies = np.fft.rfftfreq(len(audio), 1.0 / SAMPLE_RATE)
    curve_db = np.interp(np.log(frequencies + 1.0), np.log(BANDS_HZ), gains_db)
    spectrum = np.fft.rfft(audio) * 10.0 ** (curve_db / 20.0)
    return np.fft.irfft(spectrum, len(audio)).astype(np.float32)


def limit_band(audio: FloatArray, highest_hz: float) -> FloatArray:
    """`audio` [N] without what lies above `highest_hz`, as a telephone or a codec leaves it."""
    frequencies = np.fft.rfftfreq(len(audio), 1.0 / SAMPLE_RATE)
    edge = np.clip((1.05 * highest_hz - frequencies) / (0.1 * highest_hz), 0.0, 1.0)
    spectrum = np.fft.rfft(audio) * np.square(np.sin(0.5 * np.pi * edge))
    return np.fft.irfft(spectrum, len(audio)).astype(np.float32)


def overload(audio: FloatArray, share: float) -> FloatArray:
    """`audio` [N] cut off at the magnitude that a `share` of its samples exceeds."""
    ceiling = np.float32(np.quantile(np.abs(audio), 1.0 - share))
    return np.clip(audio, -ceiling, ceiling).astype(np.float32)


def plain_noise(rng: np.random.Generator, samples: int, slope_db: float) -> FloatArray:
    """Gaussian noise [samples], falling by `slope_db` an octave: 0 is white, 3 pink, 6 brown."""
    frequencies = np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE)
    gain = np.maximum(frequencies, 40.0) ** (-slope_db / (20.0 * np.log10(2.0)))
    spectrum = np.fft.rfft(rng.standard_normal(samples)) * gain
    audio = np.fft.irfft(spectrum, samples)
    level = np.sqrt(np.mean(np.square(audio)))
    return np.asarray(0.05 * audio / level, np.float32)
