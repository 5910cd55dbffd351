from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.bundle.manifest import UNKNOWN_END
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser
from frcrn_export.runtime.streaming.stream import Fifo, _power
from tests.bundles import STFT, write_manifest
from tests.streaming_bundles import Core, write_streaming_bundle

CHUNK = 16


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 1)), max_size=30))
def test_what_went_in_comes_out_in_order(steps: list[tuple[int, float]]) -> None:
    fifo = Fifo()
    written = read = 0
    for count, share in steps:
        fifo.write(np.arange(written, written + count, dtype=np.float32))
        written += count
        taken = int(share * len(fifo))
        expected = np.arange(read, read + taken, dtype=np.float32)
        np.testing.assert_array_equal(fifo.read(taken), expected)
        read += taken
        assert len(fifo) == written - read


def test_the_memory_is_used_again() -> None:
    fifo = Fifo()
    fifo.write(np.zeros(5_000, np.float32))
    buffers = []
    for _ in range(1000):
        fifo.write(np.zeros(700, np.float32))
        fifo.read(700)
        buffers.append(fifo._buffer)
    assert len(fifo) == 5_000
    assert all(buffer is buffers[20] for buffer in buffers[20:])


def test_more_than_there_is_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="2 samples wanted, 0 are there"):
        Fifo().read(2)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """A network that would be infinite for ever after a sample beyond float16."""
    return write_streaming_bundle(tmp_path / "b", Core("one_pole_fp16", chunk=CHUNK), None)


def test_after_an_output_that_is_not_finite_the_network_begins_anew(overflowing: Path) -> None:
    audio = noise(40 * CHUNK)
    audio[10 * CHUNK + 3] = 60_000
    denoiser = StreamingDenoiser.open(overflowing, threads=1, gain=2.0)
    out = np.concatenate([denoiser.process(audio), denoiser.flush()])
    assert denoiser.failed_calls == 1
    before, lost, after = np.split(out, [10 * CHUNK, 11 * CHUNK])
    assert not lost.any()
    for part, given_ in ((before, audio[: 10 * CHUNK]), (after, audio[11 * CHUNK :])):
        alone = StreamingDenoiser.open(overflowing, threads=1, gain=2.0)
        np.testing.assert_array_equal(part, alone.process(given_))
    denoiser.reset()
    assert denoiser.failed_calls == 0


def test_a_network_gets_no_more_than_its_precision_was_verified_for(overflowing: Path) -> None:
    limit_inputs(overflowing, 100.0)
    audio = noise(40 * CHUNK)
    audio[10 * CHUNK + 3] = 60_000
    denoiser = StreamingDenoiser.open(overflowing, threads=1, gain=2.0)
    out = np.concatenate([denoiser.process(audio), denoiser.flush()])
    assert (denoiser.failed_calls, denoiser.limited_calls) == (0, 1)
    audio[10 * CHUNK + 3] = 50.0  # which the gain brings to the limit
    denoiser.reset()
    expected = np.concatenate([denoiser.process(audio), denoiser.flush()])
    np.testing.assert_array_equal(out, expected)


def limit_inputs(bundle: Path, limit: float) -> None:
    """Say that the streaming core of a bundle was verified up to `limit`."""
    described = open_bundle(bundle).manifest
    files = tuple(msgspec.structs.replace(f, input_limit=limit) for f in described.files)
    write_manifest(bundle, msgspec.structs.replace(described, files=files))


def test_the_other_streams_are_as_without_it(overflowing: Path) -> None:
    many = MultiStream.open(overflowing, threads=1)
    streams = [many.add(gain=2.0) for _ in range(3)]
    audio = [noise(8 * CHUNK, seed) for seed in range(3)]
    audio[1][5] = np.float32(60_000)
    done = many.process(dict(zip(streams, audio, strict=True)))
    assert [many.failed_calls(stream) for stream in streams] == [0, 1, 0]
    for index in (0, 2):
        alone = StreamingDenoiser.open(overflowing, threads=1, gain=2.0)
        np.testing.assert_array_equal(done[streams[index]], alone.process(audio[index]))
    assert np.isfinite(done[streams[1]]).all()
    many.flush_all()
    assert many.all_failed_calls == 1


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_stream_has_no_end(tmp_path: Path, chunk: int) -> None:
    """It goes on past the last frame that its network can count, and finds its end there."""
    lookahead, hop = 3, STFT.hop_length
    core = Core("halved_end", chunk=chunk, lookahead=lookahead)
    denoiser = StreamingDenoiser.open(write_streaming_bundle(tmp_path / "b", core), threads=1)
    audio = noise(200 * hop)
    parts = [denoiser.process(audio[: 40 * hop])]
    transform = denoiser._stream.transform
    skipped = int(UNKNOWN_END) - 20 - transform._clock.given  # days
    skipped -= skipped % 75  # so that the padding is as without them
    assert 75 * hop % denoiser.manifest.padding.stride == 0
    transform._clock.given += skipped
    transform._frames_out += skipped
    with denoiser._network.session.editing() as states:
        states[-1] += skipped  # what the network counts
    denoiser._stream._given += skipped * hop
    denoiser._stream._returned += skipped * hop
    parts += [
        denoiser.process(audio[start : start + hop]) for start in range(40 * hop, 200 * hop, hop)
    ]
    parts.append(denoiser.flush())
    out = np.concatenate(parts)
    assert len(out) == len(audio)
    assert transform._clock._start > 0
    # Around the new beginning the look-ahead is missing, and two frames at the end are halved.
    different = 1 + np.flatnonzero(np.abs(out - audio)[1:] > 1e-4)  # the window is 0 at sample 0
    ends = different[different >= len(audio) - 4 * hop]
    begins = different[different < len(audio) - 4 * hop]
    assert 0 < np.ptp(begins) < (lookahead + chunk + 3) * hop
    assert len(ends) > hop
    assert denoiser.failed_calls == 0


@pytest.mark.parametrize("rows", [3, 40])
def test_a_sum_of_squares_shows_what_is_wrong(rows: int) -> None:
    values = np.ones((rows, 1, 400), np.float32)
    assert _power(values) == rows * 400
    for wrong in (np.nan, np.inf, -np.inf):
        values[rows - 1, 0, 7] = wrong
        assert not np.isfinite(_power(values))
