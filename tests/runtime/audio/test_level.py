import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.audio.level import EPS_LEVELLED, EPS_RESTORED, TARGET_RMS, measure_gain


def published_gain(x: np.ndarray, eps: float) -> float:
    """The level rule of the published pipelines, as its papers' code states it."""
    first = TARGET_RMS / (np.sqrt(np.mean(x**2)) + eps)
    power = (x * first) ** 2
    second = TARGET_RMS / (np.sqrt(power[power > power.mean()].mean()) + eps)
    return float(first * second)


def speech_like(samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    envelope = np.abs(np.sin(np.arange(samples) / 700.0)) ** 4
    return (0.1 * envelope * rng.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("eps", [EPS_LEVELLED, EPS_RESTORED])
def test_active_rms_is_the_published_rule(eps: float) -> None:
    x = speech_like(20_000)
    gain = measure_gain(lambda: [x[None]], "active_rms", eps)
    np.testing.assert_allclose(gain, [published_gain(x.astype(np.float64), eps)], rtol=1e-9)


@given(
    cuts=st.lists(st.integers(1, 4_999), max_size=6), rule=st.sampled_from(["active_rms", "peak"])
)
def test_the_gain_does_not_depend_on_the_blocks(cuts: list[int], rule: str) -> None:
    x = np.stack((speech_like(5_000), speech_like(5_000, seed=1)))
    blocks = [b for b in np.split(x, sorted(cuts), axis=1) if b.shape[1]]
    np.testing.assert_allclose(
        measure_gain(lambda: blocks, rule), measure_gain(lambda: [x], rule), rtol=1e-12
    )


def test_channels_are_levelled_on_their_own() -> None:
    x = np.stack((speech_like(5_000), 10 * speech_like(5_000, seed=1)))
    for rule in ("active_rms", "peak", "none"):
        both = measure_gain(lambda: [x], rule)
        for channel in range(2):
            alone = measure_gain(lambda channel=channel: [x[channel : channel + 1]], rule)
            np.testing.assert_array_equal(both[channel : channel + 1], alone)


def test_peak_brings_the_largest_magnitude_to_one() -> None:
    x = np.array([[0.1, -0.25, 0.2]], np.float32)
    np.testing.assert_allclose(measure_gain(lambda: [x[:, :1], x[:, 1:]], "peak"), [4.0])


@pytest.mark.parametrize("rule", ["active_rms", "peak", "none"])
def test_silence_is_left_alone(rule: str) -> None:
    x = np.stack((np.zeros(100, np.float32), speech_like(100)))
    gain = measure_gain(lambda: [x], rule)
    assert gain[0] == 1.0
    assert np.isfinite(gain).all()


def test_a_constant_magnitude_goes_to_the_target() -> None:
    x = np.tile(np.array([[0.5, -0.5]], np.float32), 500)
    np.testing.assert_allclose(measure_gain(lambda: [x], "active_rms"), [TARGET_RMS / 0.5], 1e-5)


@given(
    exponent=st.floats(-44, 4),
    rule=st.sampled_from(["active_rms", "peak"]),
    eps=st.sampled_from([EPS_LEVELLED, EPS_RESTORED]),
)
def test_any_level_gives_a_finite_gain(exponent: float, rule: str, eps: float) -> None:
    x = (speech_like(2_000) * 10**exponent).astype(np.float32)[None]
    gain = measure_gain(lambda: [x], rule, eps).astype(np.float32)
    assert np.isfinite(gain).all()
    assert np.isfinite(x * gain).all()
