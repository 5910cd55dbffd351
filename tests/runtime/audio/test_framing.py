from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.audio.framing import (
    cut_windows,
    fit,
    join_windows,
    padding_samples,
    whole_hops,
    window_count,
)
from frcrn_export.runtime.bundle.manifest import Padding, Segments, StftSpec

FRCRN_PADDING = Padding(rule="windows", size=16_000, stride=12_000)
FRCRN_SEGMENTS = Segments(length=16_000, left=2_000, right=2_000, above=1_920_000)


@pytest.mark.parametrize(
    ("samples", "padded"),
    [
        (1, 16_000),
        (15_999, 16_000),
        (16_000, 28_000),
        (27_999, 28_000),
        (28_000, 28_000),
        (40_000, 40_000),
        # N - ((N - 16000) // 12000) * 12000 more, as published.
        (28_001, 28_001 + 16_001),
        (38_363, 38_363 + 26_363),
    ],
)
def test_the_published_padding(samples: int, padded: int) -> None:
    assert samples + padding_samples(samples, FRCRN_PADDING) == padded


@given(samples=st.integers(1, 10_000), size=st.integers(1, 600))
def test_padding_to_a_multiple(samples: int, size: int) -> None:
    added = padding_samples(samples, Padding(rule="multiple", size=size))
    assert (samples + added) % size == 0
    assert 0 <= added < size


@given(samples=st.integers(1, 5_000), hop=st.integers(1, 300), quarter=st.integers(1, 80),
       center=st.booleans(), pad_mode=st.sampled_from(("reflect", "zeros")))  # fmt: skip
def test_padding_to_whole_hops_covers_every_sample(
    samples: int, hop: int, quarter: int, center: bool, pad_mode: Literal["reflect", "zeros"]
) -> None:
    window = 4 * quarter
    stft = StftSpec(
        window_length=window, hop_length=min(hop, window), fft_length=window,
        center=center, pad_mode=pad_mode,
    )  # fmt: skip
    padded = samples + padding_samples(samples, whole_hops(stft))
    assert padded >= samples
    assert padded >= stft.shortest
    assert stft.samples(stft.frames(padded)) == padded
    if padded - stft.hop_length >= whole_hops(stft).size:
        assert padded - stft.hop_length < samples  # no more than is needed


def test_fit_cuts_and_continues_with_zeros() -> None:
    wave = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(fit(wave, 2), [[0, 1], [3, 4]])
    np.testing.assert_array_equal(fit(wave, 4), [[0, 1, 2, 0], [3, 4, 5, 0]])


@st.composite
def framings(draw: st.DrawFn) -> tuple[Padding, Segments]:
    left, right, stride = draw(st.tuples(*[st.integers(0, 8)] * 2, st.integers(1, 20)))
    segments = Segments(length=left + stride + right, left=left, right=right, above=0)
    if draw(st.booleans()):
        return Padding(rule="windows", size=segments.length, stride=stride), segments
    return Padding(rule="multiple", size=draw(st.integers(1, 12))), segments


@given(
    framing=framings(),
    samples=st.integers(1, 200),
    channels=st.integers(1, 3),
    block=st.integers(1, 70),
)
def test_windows_put_together_give_the_utterance_back(
    framing: tuple[Padding, Segments], samples: int, channels: int, block: int
) -> None:
    """With windows that spoil the edges that a neighbour covers, so that none of them is kept."""
    padding, segments = framing
    wave = 1.0 + np.arange(channels * samples, dtype=np.float32).reshape(channels, samples)
    blocks = (wave[:, start : start + block] for start in range(0, samples, block))
    count = window_count(samples, padding, segments)

    def spoiled() -> list[np.ndarray]:
        windows = []
        for index, window in enumerate(cut_windows(blocks, count, segments)):
            assert window.shape == (channels, segments.length)
            spoilt = window.copy()
            if index > 0:
                spoilt[:, : segments.left] = -1
            if index < count - 1:
                spoilt[:, segments.length - segments.right :] = -1
            windows.append(spoilt)
        return windows

    joined = np.concatenate(list(join_windows(spoiled(), samples, count, segments)), axis=1)
    np.testing.assert_array_equal(joined, wave)


@given(framing=framings(), samples=st.integers(1, 200))
def test_every_window_is_heard(framing: tuple[Padding, Segments], samples: int) -> None:
    padding, segments = framing
    count = window_count(samples, padding, segments)
    windows = [np.zeros((1, segments.length), np.float32)] * count
    pieces = list(join_windows(windows, samples, count, segments))
    assert all(piece.shape[1] > 0 for piece in pieces)


def test_windows_that_fit_exactly_keep_their_end() -> None:
    """Where the published code leaves the last 2000 samples zero."""
    assert window_count(40_000, FRCRN_PADDING, FRCRN_SEGMENTS) == 3
    assert window_count(40_001, FRCRN_PADDING, FRCRN_SEGMENTS) == 4


def test_a_core_that_gives_less_is_continued_with_zeros() -> None:
    segments = Segments(length=10, left=2, right=2, above=0)
    short = [np.ones((1, 9), np.float32)] * 2
    joined = np.concatenate(list(join_windows(short, 16, 2, segments)), axis=1)
    np.testing.assert_array_equal(joined[0, :15], 1.0)
    assert joined[0, 15] == 0.0


def test_little_is_held_at_once() -> None:
    """Blocks are asked for only when a window needs them."""
    asked = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal asked
        for _ in range(100):
            asked += 1
            yield np.zeros((1, 10), np.float32)

    segments = Segments(length=20, left=0, right=0, above=0)
    next(cut_windows(blocks(), 50, segments))
    assert asked == 2
