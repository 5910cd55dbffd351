import numpy as np
import pytest

from frcrn_export.runtime.audio.source import BLOCK_FRAMES, ArraySource, array_source
from frcrn_export.runtime.errors import AudioError


def test_blocks_put_together_are_the_array() -> None:
    audio = np.random.default_rng(0).standard_normal((2, 2 * BLOCK_FRAMES + 7)).astype(np.float32)
    source = array_source(audio, 8_000)
    assert (source.channels, source.frames, source.sample_rate) == (2, audio.shape[1], 8_000)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate(list(source.blocks()), axis=1), audio)


def test_doubles_are_taken() -> None:
    source = array_source(np.full(10, 0.5), 16_000)
    (block,) = source.blocks()
    assert block.dtype == np.float32
    assert block.shape == (1, 10)


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((0, 10), np.float32), "no samples"),
        (np.zeros((2, 0), np.float32), "no samples"),
        (np.float32(1.0), "NumPy array"),
        (np.zeros((1, 2, 3), np.float32), "[1, 2, 3]"),
        (np.array(0.5, np.float32), "[channels, N]"),
        (np.zeros(10, np.int16), "int16"),
        (np.zeros(10, np.complex64), "complex64"),
        ([0.0, 0.1], "list"),
        (np.zeros((48_000, 2), np.float32), "audio.T"),
    ],
)
def test_other_arrays_are_refused(audio: np.ndarray, said: str) -> None:
    with pytest.raises(AudioError, match="audio") as caught:
        array_source(audio, 16_000)
    assert said in str(caught.value)


@pytest.mark.parametrize("rate", [0, -16_000, 999, 768_001, 16_000.5])
def test_impossible_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        array_source(np.zeros(10, np.float32), rate)


def test_a_whole_rate_may_be_a_float() -> None:
    source = array_source(np.zeros(10, np.float32), 16_000.0)
    assert isinstance(source.sample_rate, int)


def test_samples_that_are_not_finite_are_counted_and_placed() -> None:
    audio = np.zeros((2, 2 * BLOCK_FRAMES), np.float32)
    audio[1, BLOCK_FRAMES - 3] = np.nan
    audio[0, BLOCK_FRAMES - 1] = np.inf
    audio[0, BLOCK_FRAMES + 5] = -np.inf
    with pytest.raises(AudioError) as caught:
        list(array_source(audio, 16_000).blocks())
    assert "3 samples are NaN or infinite" in str(caught.value)
    assert f"sample {BLOCK_FRAMES - 3} of channel 1" in str(caught.value)


def test_samples_that_cannot_be_audio_are_refused() -> None:
    audio = np.zeros((1, 9), np.float32)
    audio[0, 4] = 1e20
    with pytest.raises(AudioError, match="1 samples are beyond 65536, the first is sample 4"):
        list(ArraySource(audio, 16_000).blocks())
    audio[0, 4] = 32_768  # 16-bit values that nobody scaled
    assert len(list(ArraySource(audio, 16_000).blocks())) == 1
