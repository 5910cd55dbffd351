import numpy as np
import pytest

from frcrn_export.runtime.audio.level import TARGET_RMS, measure_gain
from frcrn_export.runtime.bundle.manifest import Level
from frcrn_export.runtime.streaming.level import (
    MAX_GAIN,
    MIN_GAIN,
    RISE_DB_PER_SECOND,
    CausalLevel,
    stream_level,
)

RATE, BLOCK = 16_000, 320
RULES: list[Level] = ["active_rms", "peak"]


def noise(seconds: float, rms: float, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    return (rms * values).astype(np.float32)


def speech_like(seconds: float, rms: float, seed: int = 0) -> np.ndarray:
    """Noise in syllables: a quarter of a second loud, a quarter 30 dB lower."""
    wave = noise(seconds, rms, seed)
    loud = (np.arange(len(wave)) // (RATE // 4)) % 2 == 0
    return wave * np.where(loud, 1, 10 ** (-30 / 20)).astype(np.float32)


def gains(rule: Level, wave: np.ndarray, piece: int = BLOCK) -> np.ndarray:
    level = CausalLevel(rule, RATE, BLOCK)
    out = np.empty_like(wave)
    for start in range(0, len(wave), piece):
        level.gains(wave[start : start + piece], out[start : start + piece])
    return out


def decibels(ratio: float) -> float:
    return 20 * float(np.log10(ratio))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rms", [0.005, 0.05, 0.5])
def test_it_comes_to_the_offline_gain(rule: Level, rms: float) -> None:
    wave = speech_like(8, rms)
    offline = measure_gain(lambda: [wave[None]], rule)[0]
    assert abs(decibels(gains(rule, wave)[-1] / offline)) < (0.2 if rule == "active_rms" else 1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_it_knows_nothing_of_samples_to_come(rule: Level) -> None:
    wave = speech_like(3, 0.05)
    other = wave.copy()
    other[RATE:] *= -7
    np.testing.assert_array_equal(gains(rule, wave)[:RATE], gains(rule, other)[:RATE])
    assert (gains(rule, wave) != gains(rule, other)).any()


@pytest.mark.parametrize("rule", RULES)
def test_it_does_not_depend_on_how_many_blocks_come_at_once(rule: Level) -> None:
    wave = speech_like(2, 0.05)
    np.testing.assert_array_equal(gains(rule, wave), gains(rule, wave, piece=5 * BLOCK))


def test_samples_before_the_first_whole_block_join_it() -> None:
    level, wave = CausalLevel("peak", RATE, BLOCK), noise(0.1, 0.5)
    out = np.empty_like(wave)
    level.gains(wave[:500], out[:500])
    steps = np.diff(out[:500])
    assert np.ptp(steps[:179]) < 1e-5  # 180 and 320 samples, a straight line each
    assert np.ptp(steps[180:]) < 1e-5


@pytest.mark.parametrize("rule", RULES)
def test_it_falls_at_once_rises_slowly_and_never_jumps(rule: Level) -> None:
    wave = np.concatenate((noise(1, 0.01), noise(1, 0.5), noise(12, 0.01)))
    gain = gains(rule, wave)
    offline = measure_gain(lambda: [wave[None, RATE : 2 * RATE]], rule)[0]
    assert decibels(gain[RATE + 5 * BLOCK] / offline) < 3
    per_block = 20 * np.log10(gain[BLOCK - 1 :: BLOCK])
    assert np.diff(per_block).max() < RISE_DB_PER_SECOND * BLOCK / RATE + 1e-3
    assert np.abs(np.diff(gain)).max() < gain.max() / BLOCK * 1.01


@pytest.mark.parametrize("rule", RULES)
def test_a_burst_is_forgotten(rule: Level) -> None:
    quiet = speech_like(30, 0.02)
    loud = quiet.copy()
    loud[RATE : RATE + 500] = 1.0
    before, after = gains(rule, quiet), gains(rule, loud)
    assert after[2 * RATE] < before[2 * RATE] / 2
    np.testing.assert_array_equal(after[16 * RATE :], before[16 * RATE :])


@pytest.mark.parametrize("rule", RULES)
def test_silence_leaves_the_gain_as_it_is(rule: Level) -> None:
    silence = np.zeros(20 * RATE, np.float32)
    assert (gains(rule, silence) == 1).all()
    wave = np.concatenate((speech_like(4, 0.02), silence, noise(5, 1e-5)))
    gain = gains(rule, wave)
    assert (gain[5 * RATE :] == gain[5 * RATE]).all()
    assert gain[-1] > 1


@pytest.mark.parametrize("rule", RULES)
def test_it_stays_in_bounds(rule: Level) -> None:
    assert gains(rule, noise(5, 2e-4)).max() == MAX_GAIN
    extreme = gains(rule, np.full(RATE, 65536, np.float32))
    assert np.isfinite(extreme).all()
    assert extreme.min() >= MIN_GAIN


def test_a_constant_magnitude_goes_to_the_target() -> None:
    wave = np.full(RATE, 0.5, np.float32)
    assert gains("active_rms", wave)[-1] == pytest.approx(TARGET_RMS / 0.5, rel=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_reset_begins_anew(rule: Level) -> None:
    level, wave = CausalLevel(rule, RATE, BLOCK), speech_like(2, 0.05)
    first, second = np.empty_like(wave), np.empty_like(wave)
    level.gains(wave, first)
    level.reset()
    level.gains(wave, second)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("rule", "gain", "expected"), [("none", None, 1), ("peak", 3.0, 3)])
def test_a_known_gain_is_used_as_it_is(rule: Level, gain: float | None, expected: float) -> None:
    out = np.empty(10, np.float32)
    stream_level(rule, gain, RATE, BLOCK).gains(np.ones(10, np.float32), out)
    assert (out == expected).all()
