import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.calibration.quality.metrics import (
    MAX_PESQ_SECONDS,
    Unmeasurable,
    pesq_wb,
    segmental_snr_db,
    si_sdr_db,
    stoi,
)
from tests.pairs import RATE, Signal

seeds = st.integers(0, 1000)


def signal(seed: int, samples: int = 2000) -> Signal:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


@given(seeds, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_si_sdr_knows_no_level(seed: int, clean_scale: float, scale: float) -> None:
    clean = signal(seed)
    estimate = clean + 0.3 * signal(seed + 1)
    scaled = si_sdr_db(np.float32(clean_scale) * clean, np.float32(scale) * estimate)
    assert scaled == pytest.approx(si_sdr_db(clean, estimate), abs=1e-3)


@given(seeds, st.floats(0.0, 10.0))
def test_segmental_snr_stays_in_its_limits(seed: int, level: float) -> None:
    clean = signal(seed)
    value = segmental_snr_db(clean, clean + np.float32(level) * signal(seed + 1))
    assert -10 <= value <= 35


@pytest.mark.parametrize(("gain", "expected"), [(0.9, 20.0), (0.5, 6.02), (1.0, 35.0), (9.0, -10)])
def test_segmental_snr_of_another_level(clean: Signal, gain: float, expected: float) -> None:
    value = segmental_snr_db(clean.astype(np.float64), gain * clean.astype(np.float64))
    assert value == pytest.approx(expected, abs=0.01)


def test_segmental_snr_frame_by_frame() -> None:
    """Against a plain loop over frames of 512 samples, every 256."""
    clean, noise = signal(1, 4096), 0.2 * signal(2, 4096)
    clean[1024:2048] *= 1e-4  # a pause: 80 dB below the rest
    values = []
    for start in range(0, 4096 - 511, 256):
        speech, error = (part[start : start + 512].astype(float) for part in (clean, noise))
        if (speech**2).sum() > 1e-4 * 512:
            values.append(10 * np.log10((speech**2).sum() / (error**2).sum()))
    assert len(values) == 12
    value = segmental_snr_db(clean.astype(float), clean.astype(float) + noise)
    assert value == pytest.approx(np.clip(values, -10, 35).mean(), abs=1e-6)


def test_the_noisier_the_worse(clean: Signal, noisy: Signal) -> None:
    noise = noisy - clean
    for measure in (si_sdr_db, pesq_wb, stoi, segmental_snr_db):
        values = [measure(clean, clean + part * noise) for part in (0.1, 0.5, 1.0, 3.0)]
        assert values == sorted(values, reverse=True), measure
        assert values[0] > values[-1]


def test_the_clean_speech_itself(clean: Signal) -> None:
    assert pesq_wb(clean, clean) == pytest.approx(4.64, abs=0.01)
    assert stoi(clean, clean) == pytest.approx(1.0, abs=1e-6)
    assert segmental_snr_db(clean, clean) == 35.0
    with pytest.raises(Unmeasurable, match="the same as the clean speech"):
        si_sdr_db(clean, clean)


def test_silence(clean: Signal) -> None:
    silence = np.zeros_like(clean)
    for measure in (si_sdr_db, pesq_wb, stoi, segmental_snr_db):
        with pytest.raises(Unmeasurable, match="silent"):
            measure(silence, clean)
    for measure in (si_sdr_db, pesq_wb):
        for quiet in (silence, 1e-30 * clean):
            with pytest.raises(Unmeasurable, match="silent"):
                measure(clean, quiet)
    assert stoi(clean, silence) == 0.0
    assert segmental_snr_db(clean, silence) == pytest.approx(0.0, abs=1e-6)


def test_pesq_of_higher_rates_is_that_at_16_khz(clean: Signal, noisy: Signal) -> None:
    at_48_khz = (soxr.resample(part, RATE, 48_000) for part in (clean, noisy))
    assert pesq_wb(*at_48_khz, 48_000) == pytest.approx(pesq_wb(clean, noisy), abs=0.01)


def test_pesq_has_its_limits(clean: Signal, noisy: Signal) -> None:
    with pytest.raises(Unmeasurable, match=r"at least 0\.25 s"):
        pesq_wb(clean[:3000], noisy[:3000])
    with pytest.raises(Unmeasurable, match="needs 16000 Hz, these are at 8000"):
        pesq_wb(clean, noisy, 8_000)
    with pytest.raises(Unmeasurable, match="at most 20 s"):
        pesq_wb(*(np.resize(part, int(MAX_PESQ_SECONDS * RATE) + 1) for part in (clean, noisy)))


def test_as_many_utterances_as_fit_into_the_longest_clip() -> None:
    """The reference code writes past its tables beyond 50."""
    period, burst = 0.42, 0.21  # of 60 s of this it crashes
    times = np.arange(int(MAX_PESQ_SECONDS * RATE)) / RATE
    speech = 0.1 * signal(1, len(times)) * (times % period < burst)
    assert pesq_wb(speech, speech + 1e-5 * signal(2, len(times))) > 4


@pytest.mark.parametrize("samples", [1, 100, 6000])
def test_short_clips(clean: Signal, noisy: Signal, samples: int) -> None:
    with pytest.raises(Unmeasurable, match=r"0\.4 s"):
        stoi(clean[-samples:], noisy[-samples:])
    if samples < 512:
        with pytest.raises(Unmeasurable, match="32 ms"):
            segmental_snr_db(clean[-samples:], noisy[-samples:])


def test_a_clip_with_little_speech(clean: Signal, noisy: Signal) -> None:
    mostly_silent = clean.copy()
    mostly_silent[4000:] = 0
    with pytest.raises(Unmeasurable, match=r"0\.4 s"):
        stoi(mostly_silent, noisy)
