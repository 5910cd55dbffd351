"""Sound on which a lower precision goes wrong first: very quiet, very loud, abrupt."""

import numpy as np

from frcrn_export.exporters.assets import read_speech
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import QUANTIZED, Precision

_LEVELS_DBFS = (-50, -25, 0)  # peaks
LEVELS = tuple(f"{level}-dBFS" for level in _LEVELS_DBFS)
CLICKS, JUMP, NOISE = "clicks", "jump", "full-scale-noise"
ABRUPT = (CLICKS, JUMP, NOISE)  # what speech of any level does not show

# Little is left of noise, and what is rounded inside is as loud as ever.
_NOISE_ALLOWANCE_DB = 10.0
# 8 bits have the ranges of recordings, and clip what lies outside: no good copy is left, but the
# sound is.
_QUANTIZED_ALLOWANCE_DB = 15.0
_SAMPLES = 16_000
_WHISPER_SECONDS = 2.0  # in which a stream's gain rises by 40 dB, to its maximum


def hard_waves(sample_rate: int) -> dict[str, Float32Array]:
    """Sound [N] in which float16 could overflow or underflow, by name.

    A second of speech of several peaks, with clicks of full scale, and in noise of full scale; and
    a whisper so long that the gain of a stream is at its highest when speech of full scale comes.
    """
    speech = read_speech(sample_rate)[5_000 : 5_000 + _SAMPLES]
    speech = speech / np.abs(speech).max()
    waves = {
        name: speech * 10 ** (level / 20) for name, level in zip(LEVELS, _LEVELS_DBFS, strict=True)
    }
    clicks = speech * 10 ** (-25 / 20)
    clicks[len(clicks) // 4 :: len(clicks) // 4] = 1.0
    waves[CLICKS] = clicks
    noise = np.random.default_rng(0).uniform(-0.7, 0.7, len(speech))
    waves[NOISE] = np.clip(noise + 0.5 * speech, -1, 1)
    whisper = np.resize(speech * 10 ** (-60 / 20), int(_WHISPER_SECONDS * sample_rate))
    waves[JUMP] = np.concatenate((whisper, speech[: len(speech) // 2]))
    return {name: wave.astype(np.float32) for name, wave in waves.items()}


def allowance_db(name: str, precision: Precision) -> float:
    """By how many dB the SNR of a precision may be below its floor, on a sound of this name."""
    if precision in QUANTIZED and name in ABRUPT:
        return _QUANTIZED_ALLOWANCE_DB
    return _NOISE_ALLOWANCE_DB if name == NOISE else 0.0
