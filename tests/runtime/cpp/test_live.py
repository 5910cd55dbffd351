"""The worker for audio callbacks: the stream's samples, a constant time later."""

import time
from ctypes import byref, c_void_p, sizeof
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.cpp.library import FrcrnError, Library, LiveOptions, Stream, _pointer
from tests.runtime.cpp.test_recordings import noise
from tests.streaming_bundles import Core, write_streaming_bundle


class Live:
    def __init__(self, stream: Stream, max_block: int, margin: int = 0) -> None:
        self.library, self.stream = stream.library, stream
        self.handle = c_void_p()
        options = LiveOptions(size=sizeof(LiveOptions), max_block=max_block, margin=margin)
        self.library.call("frcrn_live_start", stream.handle, byref(options), byref(self.handle))
        self.latency = self.library.c.frcrn_live_latency(self.handle)

    def exchange(self, block: np.ndarray, *, waits: bool = False) -> np.ndarray:
        buffer = np.array(block, np.float32)  # a copy: the samples come back in it
        name = "frcrn_live_exchange_blocking" if waits else "frcrn_live_exchange"
        call = getattr(self.library.c, name)
        status = call(self.handle, _pointer(buffer), _pointer(buffer), buffer.size)
        assert status == 0
        return buffer

    @property
    def late(self) -> int:
        return int(self.library.c.frcrn_live_late_samples(self.handle))

    def stop(self) -> None:
        self.library.c.frcrn_live_stop(self.handle)
        self.handle = c_void_p()


@pytest.fixture
def stream(library: Library, tmp_path: Path) -> Stream:
    bundle = write_streaming_bundle(tmp_path / "bundle", Core("delay", 32, 48), None)
    return library.open(bundle).stream()


@pytest.mark.parametrize("block", [1, 32, 100, 256])
def test_samples_come_after_the_latency_that_is_stated(stream: Stream, block: int) -> None:
    live = Live(stream, 256, margin=512)
    assert live.latency == 32 + 48 + 256 + 512
    wave = noise(4_000, level=1.0)
    found = []
    for start in range(0, len(wave), block):
        found.append(live.exchange(wave[start : start + block]))
        time.sleep(0.0005)
    late = live.late
    live.stop()
    out = np.concatenate(found)
    assert not out[: live.latency].any()
    if not late:  # a machine that stopped for long may be late, and says so
        np.testing.assert_array_equal(out[live.latency :], wave[: -live.latency])


def test_a_late_worker_gives_silence_and_keeps_the_delay(stream: Stream) -> None:
    """Given at once, hundreds of blocks are more than a worker can have done."""
    live = Live(stream, 64)
    wave = noise(60_000, level=1.0)
    wave[wave == 0] = 1e-9
    out = np.concatenate(
        [live.exchange(wave[start : start + 64]) for start in range(0, len(wave), 64)]
    )
    late = live.late
    live.stop()
    expected = np.concatenate([np.zeros(live.latency, np.float32), wave])[: len(out)]
    assert np.count_nonzero(out != expected) <= late
    assert np.count_nonzero(out != expected) == np.count_nonzero((out == 0) & (expected != 0))


def test_a_stopped_worker_leaves_the_stream_as_new(stream: Stream) -> None:
    live = Live(stream, 64)
    live.exchange(noise(64, level=1.0))
    live.stop()
    wave = noise(500)
    out = np.concatenate([stream.process(wave), stream.flush()])
    np.testing.assert_array_equal(out, wave)
    for _ in range(20):  # starts and stops
        Live(stream, 64).stop()


def test_a_stream_that_a_worker_runs_is_not_the_callers(stream: Stream) -> None:
    live = Live(stream, 64)
    for call in (lambda: stream.process(noise(10)), stream.reset, stream.flush, stream.stats):
        with pytest.raises(FrcrnError, match="FRCRN_STATE: a live worker runs this stream"):
            call()
    with pytest.raises(FrcrnError, match="FRCRN_STATE: a live worker runs this stream"):
        Live(stream, 64)
    live.stop()
    assert len(stream.process(noise(1_000)))


def test_a_worker_outlives_the_handle_of_its_stream(stream: Stream) -> None:
    live = Live(stream, 64)
    stream.library.c.frcrn_stream_free(stream.handle)
    stream.handle = c_void_p()
    for _ in range(20):
        live.exchange(noise(64))
    live.stop()


def test_a_block_that_is_too_large_is_refused(stream: Stream) -> None:
    live = Live(stream, 64)
    buffer = np.ones(65, np.float32)
    arguments = (live.handle, _pointer(buffer), _pointer(buffer), 65)
    assert live.library.c.frcrn_live_exchange(*arguments) == 1
    assert live.library.c.frcrn_live_exchange(None, _pointer(buffer), _pointer(buffer), 1) == 1
    live.stop()
    with pytest.raises(Exception, match="FRCRN_ARGUMENT.*max_block"):
        Live(stream, (1 << 20) + 1)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("blocks", [[1] * 400, [1024] * 20, [3, 700, 64, 1000, 333] * 8])
def test_a_callback_that_waits_gets_every_sample(
    rate: int, blocks: list[int], library: Library, tmp_path: Path
) -> None:
    """As a host does that sends a recording through, faster than real time."""
    model = library.open(write_streaming_bundle(tmp_path / "bundle", Core("one_pole", 32), None))
    live = Live(model.stream(sample_rate=rate), 1024)
    wave = noise(sum(blocks), level=1.0)
    edges = np.cumsum([0, *blocks])
    found = np.concatenate([live.exchange(wave[a:b], waits=True) for a, b in pairwise(edges)])
    assert live.late == 0
    live.stop()
    stream = model.stream(sample_rate=rate)
    expected = np.concatenate([stream.process(wave), stream.flush()])
    delayed = np.concatenate([np.zeros(live.latency, np.float32), expected])[: len(found)]
    np.testing.assert_allclose(found, delayed, rtol=0, atol=1e-6 if rate != 16_000 else 0)


@pytest.mark.parametrize("late_blocks", [8, 500])
def test_a_callback_may_begin_to_wait(late_blocks: int, stream: Stream) -> None:
    """What came too late stays silence; from then on every sample comes, at the same delay."""
    live = Live(stream, 100)
    wave = noise(80_000, level=1.0)
    starts = range(0, len(wave), 100)
    out = np.concatenate(
        [live.exchange(wave[n : n + 100], waits=n >= 100 * late_blocks) for n in starts]
    )
    live.stop()
    expected = np.concatenate([np.zeros(live.latency, np.float32), wave])[: len(out)]
    settled = 100 * late_blocks + live.latency
    np.testing.assert_array_equal(out[settled:], expected[settled:])


def test_a_worker_that_runs_follows_the_limit(library: Library, tmp_path: Path) -> None:
    bundle = write_streaming_bundle(tmp_path / "bundle", Core("one_pole", 32), None)
    live = Live(library.open(bundle).stream(), 500)
    wave = noise(20_000, level=1.0)
    for limit in (-1.0, 0.0):
        assert library.c.frcrn_live_set_attenuation_limit(live.handle, limit) == 0
        found = np.concatenate(
            [live.exchange(wave[n : n + 500], waits=True) for n in range(0, len(wave), 500)]
        )
    # Without any attenuation the input comes out, as it went in.
    np.testing.assert_array_equal(found[5_000:], wave[5_000 - live.latency : -live.latency])
    assert library.c.frcrn_live_set_attenuation_limit(live.handle, float("nan")) == 1
    assert library.c.frcrn_live_set_attenuation_limit(None, 1.0) == 1
    live.stop()
