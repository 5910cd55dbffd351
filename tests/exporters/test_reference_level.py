"""The reference of the causal level and the runtime's level, which share no code."""

import numpy as np
import pytest

from frcrn_export.exporters.reference_level import causal_gains
from frcrn_export.runtime.bundle.manifest import Level
from frcrn_export.runtime.streaming.level import CausalLevel

RATE = 1_000  # Hz: the memory of ten seconds is soon full


def sound(seconds: float) -> np.ndarray:
    """Noise whose level changes every second and a half, with digital silence in between."""
    random = np.random.default_rng(0)
    levels = np.repeat([0.03, 0.9, 0.0, 0.2, 0.004, 0.5, 2e-5, 0.1], 3 * RATE // 2)
    count = int(seconds * RATE)
    return (np.resize(levels, count) * random.standard_normal(count)).astype(np.float32)


def runtime_gains(wave: np.ndarray, level: Level, first: int, hop: int, chunk: int) -> np.ndarray:
    rule = CausalLevel(level, RATE, hop)
    padded = np.append(wave, np.zeros(first + chunk * hop, np.float32))
    gains = np.empty_like(padded)
    start, stop = 0, first
    while start < len(wave):
        rule.gains(padded[start:stop], gains[start:stop])
        start, stop = stop, stop + chunk * hop
    return gains[: len(wave)]


@pytest.mark.parametrize("level", ["peak", "active_rms"])
@pytest.mark.parametrize(
    ("first", "hop", "chunk"), [(8, 8, 1), (50, 20, 1), (11, 20, 1), (31, 20, 4)]
)
def test_the_runtime_gives_the_same_gains(level: Level, first: int, hop: int, chunk: int) -> None:
    wave = sound(14)
    first += (chunk - 1) * hop
    first_interval = first - (max(1, first // hop) - 1) * hop
    expected = causal_gains(wave, level, RATE, first_interval, hop)
    gains = runtime_gains(wave, level, first, hop, chunk)
    np.testing.assert_allclose(gains, expected, rtol=1e-6)
    assert expected.max() > 20 * expected.min()


def test_the_gain_forgets_after_ten_seconds_of_sound() -> None:
    wave = np.full(12 * RATE, 0.1, np.float32)
    wave[:8] = 1.0
    gains = causal_gains(wave, "peak", RATE, 8, 8)
    assert gains[8 * RATE] == pytest.approx(1.0)
    assert gains[-1] == pytest.approx(10.0)


def test_silence_and_streams_without_a_level_keep_the_gain_of_one() -> None:
    wave = sound(2)
    assert (causal_gains(wave, "none", RATE, 8, 8) == 1).all()
    assert (causal_gains(np.zeros_like(wave), "active_rms", RATE, 8, 8) == 1).all()


def test_a_stream_shorter_than_its_first_interval() -> None:
    gains = causal_gains(np.full(3, 0.5, np.float32), "peak", RATE, 10, 5)
    rise = 10 ** (20 / 20 * 10 / RATE)  # a second raises the gain by 20 dB at most
    np.testing.assert_allclose(gains, 1 + (rise - 1) * np.array([0.1, 0.2, 0.3]), rtol=1e-6)
