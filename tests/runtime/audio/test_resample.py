import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.resample import Resampled, fit_blocks, resample_blocks
from frcrn_export.runtime.audio.source import ArraySource

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000)


@given(rate=st.sampled_from(RATES), frames=st.integers(1, 3_000), channels=st.integers(1, 2))
@settings(deadline=None)
def test_there_and_back_has_the_same_length(rate: int, frames: int, channels: int) -> None:
    source = ArraySource(np.ones((channels, frames), np.float32), rate)
    there = Resampled(source, 16_000)
    blocks = list(there.blocks())
    assert sum(block.shape[1] for block in blocks) == there.frames >= frames * 16_000 / rate
    back = fit_blocks(resample_blocks(blocks, channels, 16_000, rate), channels, frames)
    assert np.concatenate(list(back), axis=1).shape == (channels, frames)


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_are_resampled_as_one(channels: int) -> None:
    audio = np.random.default_rng(0).standard_normal((channels, 9_000)).astype(np.float32)
    blocks = np.split(audio, [1, 500, 4_000], axis=1)
    result = np.concatenate(list(resample_blocks(blocks, channels, 44_100, 16_000)), axis=1)
    whole = soxr.resample(audio.T, 44_100, 16_000).T
    np.testing.assert_array_equal(result, whole)


def test_a_tone_survives_the_round_trip_in_place() -> None:
    """A delay of one sample at 1 kHz would leave an error of 0.13."""
    time = np.arange(48_000) / 48_000
    tone = np.sin(2 * np.pi * 1_000 * time).astype(np.float32)[None]
    there = Resampled(ArraySource(tone, 48_000), 16_000).blocks()
    back = fit_blocks(resample_blocks(there, 1, 16_000, 48_000), 1, 48_000)
    result = np.concatenate(list(back), axis=1)
    np.testing.assert_allclose(result[0, 2_000:-2_000], tone[0, 2_000:-2_000], atol=1e-3)


@given(
    lengths=st.lists(st.integers(0, 9), max_size=8),
    frames=st.integers(1, 40),
)
def test_fit_blocks_gives_exactly_what_is_asked(lengths: list[int], frames: int) -> None:
    given_ = np.arange(1, sum(lengths) + 1, dtype=np.float32)[None]
    blocks = np.split(given_, np.cumsum(lengths)[:-1], axis=1) if lengths else []
    result = np.concatenate(list(fit_blocks(blocks, 1, frames)), axis=1)
    kept = min(frames, given_.shape[1])
    np.testing.assert_array_equal(result[0, :kept], given_[0, :kept])
    assert not result[0, kept:].any()
    assert result.shape[1] == frames
