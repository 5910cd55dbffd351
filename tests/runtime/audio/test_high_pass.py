"""The high-pass: its response, its phase, and that blocks change nothing."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.high_pass import (
    HighPassed,
    HighPassFilter,
    high_passed_blocks,
    infrasound_db,
)
from frcrn_export.runtime.audio.source import ArraySource
from frcrn_export.runtime.bundle.manifest import HighPass

RATE = 16_000
SETTINGS = settings(max_examples=25, deadline=None)


def _recursion(wave: npt.NDArray[np.float64], cutoff: float) -> npt.NDArray[np.float64]:
    """The difference equation of the module's formula, sample by sample."""
    k = math.tan(math.pi * cutoff / RATE)
    b = 1 / (1 + math.sqrt(2) * k + k * k)
    a1, a2 = 2 * b * (k * k - 1), b * (1 - math.sqrt(2) * k + k * k)
    x1 = x2 = wave[0]
    y1 = y2 = 0.0
    out = np.empty(len(wave))
    for index, x in enumerate(wave):
        y = b * (x - 2 * x1 + x2) - a1 * y1 - a2 * y2
        x1, x2, y1, y2 = x, x1, y, y1
        out[index] = y
    return out


def _noise(count: int, channels: int = 1) -> npt.NDArray[np.float32]:
    wave = 0.3 + np.random.default_rng(0).standard_normal((channels, count))
    return wave.astype(np.float32)


@SETTINGS
@given(st.lists(st.integers(0, 700), min_size=1, max_size=8), st.sampled_from((5.0, 10.0, 20.0)))
def test_any_blocks_give_the_difference_equation(sizes: list[int], cutoff: float) -> None:
    wave = _noise(max(1, sum(sizes)), channels=2)
    filtered = HighPassFilter(cutoff, RATE)
    borders = np.cumsum([0, *sizes])
    parts = [filtered(wave[:, a:b]) for a, b in itertools.pairwise(borders)]
    parts.append(filtered(wave[:, borders[-1] :]))
    expected = np.stack([_recursion(channel.astype(np.float64), cutoff) for channel in wave])
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-9)


@SETTINGS
@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_recordings_go_forward_and_backward(sizes: list[int]) -> None:
    wave = _noise(sum(sizes))
    borders = np.cumsum([0, *sizes])
    blocks = [wave[:, a:b] for a, b in itertools.pairwise(borders)]
    forward = _recursion(wave[0].astype(np.float64), 20.0)
    expected = _recursion(forward[::-1], 20.0)[::-1]
    done = np.concatenate(list(high_passed_blocks(blocks, 20.0, RATE)), axis=1)
    np.testing.assert_allclose(done[0], expected, atol=1e-6)


def test_a_reset_begins_a_new_signal() -> None:
    filtered = HighPassFilter(10.0, RATE)
    first = filtered(_noise(500))
    filtered.reset()
    np.testing.assert_array_equal(filtered(_noise(500)), first)


def test_dc_leaves_no_trace() -> None:
    constant = np.full((2, 5_000), 0.25, np.float32)
    assert np.abs(HighPassFilter(10.0, RATE)(constant)).max() < 1e-9
    source = HighPassed(ArraySource(constant, RATE), HighPass())
    assert (source.frames, source.channels, source.sample_rate) == (5_000, 2, RATE)
    assert max(np.abs(block).max() for block in source.blocks()) < 1e-7


@pytest.mark.parametrize(
    ("hertz", "least_db", "most_db"), [(5, -60.0, -40.0), (20, -6.1, -5.9), (80, -0.1, 0.0)]
)
def test_speech_passes_in_phase_and_infrasound_does_not(
    hertz: float, least_db: float, most_db: float
) -> None:
    time = np.arange(4 * RATE) / RATE
    wave = np.sin(2 * np.pi * hertz * time).astype(np.float32)
    done = np.concatenate(list(high_passed_blocks([wave[None]], 20.0, RATE)), axis=1)[0]
    middle = slice(RATE, 3 * RATE)
    gain = float(done[middle] @ wave[middle]) / float(wave[middle] @ wave[middle])
    assert least_db <= 20 * math.log10(gain) <= most_db
    # Nothing is left at a right angle to the input: no phase is shifted.
    assert np.abs(done[middle] - gain * wave[middle]).max() < 2e-3


def test_infrasound_is_measured_against_the_rest() -> None:
    sound = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)[None]
    assert infrasound_db(ArraySource(sound, RATE)) < -35
    assert infrasound_db(ArraySource(sound + 1, RATE)) == pytest.approx(3.0, abs=0.2)
    assert infrasound_db(ArraySource(np.zeros((1, 99), np.float32), RATE)) == -math.inf
    assert infrasound_db(ArraySource(np.ones((1, 99), np.float32), RATE)) > 100
