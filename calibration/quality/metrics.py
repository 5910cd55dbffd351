"""Measures of denoised speech against the clean speech: PESQ-WB, STOI, segmental SNR, SI-SDR.

Signals are [N] floats at full scale 1, aligned, of equal length. A measure without a value for a
pair of signals raises `Unmeasurable` with the reason.
"""

import warnings

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import FloatArray
from frcrn_export.runtime.audio import measures as signals

SAMPLE_RATE = 16_000  # Hz, of PESQ-WB
# The reference code of P.862 holds 50 utterances and overruns beyond. An utterance and a pause take
# at least 0.2 s each, so that no more fit into this time.
MAX_PESQ_SECONDS = 20.0

# Below any recording; PESQ's single precision ends at 1e-20.
_SILENCE = 1e-10
_STOI_SECONDS = 0.4  # 30 frames

_FRAME_SECONDS = 0.032
_SEGMENT_LIMITS_DB = (-10.0, 35.0)
_SPEECH_RANGE_DB = 40.0


class Unmeasurable(Exception):
    """A measure has no value for these signals; the message is the reason, for a table's cell."""


def si_sdr_db(clean: FloatArray, estimate: FloatArray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, see `runtime.audio.measures`.

    Raises Unmeasurable where one is silent, and for the clean speech itself.
    """
    _check_not_silent(clean, estimate)
    value = signals.si_sdr_db(clean, estimate)
    if not np.isfinite(value):
        raise Unmeasurable("the same as the clean speech")
    return value


def pesq_wb(clean: FloatArray, estimate: FloatArray, sample_rate: int = SAMPLE_RATE) -> float:
    """Wide-band PESQ, ITU-T P.862.2: MOS-LQO from 1.04 to 4.64. It aligns levels.

    Signals at higher rates are resampled to 16 kHz, as usual for speech at 48 kHz. Raises
    Unmeasurable where one is silent or has no speech, for clips shorter than 0.25 s or longer than
    `MAX_PESQ_SECONDS`, and for rates below 16 kHz.
    """
    import pesq

    if sample_rate < SAMPLE_RATE:
        raise Unmeasurable(f"PESQ-WB needs {SAMPLE_RATE} Hz, these are at {sample_rate}")
    if len(clean) > MAX_PESQ_SECONDS * sample_rate:
        raise Unmeasurable(f"PESQ takes clips of at most {MAX_PESQ_SECONDS:g} s")
    _check_not_silent(clean, estimate)
    parts = (at_rate(part, sample_rate, SAMPLE_RATE) for part in (clean, estimate))
    try:
        return float(pesq.pesq(SAMPLE_RATE, *parts, "wb"))
    except pesq.NoUtterancesError:
        raise Unmeasurable("PESQ finds no speech") from None
    except pesq.BufferTooShortError:
        raise Unmeasurable("PESQ takes clips of at least 0.25 s") from None


def at_rate(samples: FloatArray, from_rate: int, to_rate: int) -> FloatArray:
    """Samples [N] resampled to another rate, if it differs."""
    if from_rate == to_rate:
        return samples
    import soxr

    resampled: FloatArray = soxr.resample(samples, from_rate, to_rate)
    return resampled


def stoi(clean: FloatArray, estimate: FloatArray, sample_rate: int = SAMPLE_RATE) -> float:
    """Short-time objective intelligibility, 0 to 1: Taal et al. 2011, not extended STOI.

    A silent estimate has 0. Raises Unmeasurable where the clean speech is silent, or has less than
    30 frames (0.4 s) that are not silent.
    """
    import pystoi

    _check_not_silent(clean)
    too_short = Unmeasurable(f"STOI needs {_STOI_SECONDS} s of speech")
    if len(clean) < _STOI_SECONDS * sample_rate:
        raise too_short
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames")
        try:
            return float(pystoi.stoi(clean, estimate, sample_rate))
        except RuntimeWarning:
            raise too_short from None


def segmental_snr_db(
    clean: FloatArray, estimate: FloatArray, sample_rate: int = SAMPLE_RATE
) -> float:
    """Mean over frames of their SNR, each limited to [-10, 35] dB.

    Frames of 32 ms that overlap by half, without a window; only those with clean speech, by STOI's
    rule: within 40 dB of the loudest frame. Levels count: an estimate at half the level has 6 dB.
    Source: Hansen and Pellom, "An effective quality evaluation protocol for speech enhancement
    algorithms", ICSLP 1998; limits as in Loizou, "Speech Enhancement", 2007, ch. 10.
    Raises Unmeasurable for silent clean speech, and for clips shorter than a frame.
    """
    _check_not_silent(clean)
    length = round(_FRAME_SECONDS * sample_rate)
    if len(clean) < length:
        raise Unmeasurable(f"segmental SNR needs a frame of {1000 * _FRAME_SECONDS:g} ms")
    signal = _frame_energies(clean, length)
    error = _frame_energies(clean.astype(np.float64) - estimate, length)
    speech = signal > signal.max() * 10 ** (-_SPEECH_RANGE_DB / 10)
    tiny = np.finfo(np.float64).tiny
    ratios = 10 * (np.log10(signal[speech]) - np.log10(np.maximum(error[speech], tiny)))
    return float(np.clip(ratios, *_SEGMENT_LIMITS_DB).mean())


def _frame_energies(samples: FloatArray, length: int) -> npt.NDArray[np.float64]:
    """Sums of squares [frames] of frames that overlap by half."""
    squares = samples.astype(np.float64) ** 2
    frames = np.lib.stride_tricks.sliding_window_view(squares, length)[:: length // 2]
    energies: npt.NDArray[np.float64] = frames.sum(axis=1)
    return energies


def _check_not_silent(*parts: FloatArray) -> None:
    if not all(np.abs(part).max() > _SILENCE for part in parts):
        raise Unmeasurable("silent")
