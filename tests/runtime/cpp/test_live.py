"""The worker for audio callbacks: the stream's samples, a constant time later."""

import time
from ctypes import byref, c_void_p, sizeof
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.cpp.library import Library, LiveOptions, Stream, _pointer
from tests.runtime.cpp.test_recordings import noise
from tests.streaming_bundles import Core, write_streaming_bundle


class Live:
    def __init__(self, stream: Stream, max_block: int, margin: int = 0) -> None:
        self.library, self.stream = stream.library, stream
        self.handle = c_void_p()
        options = LiveOptions(size=sizeof(LiveOptions), max_block=max_block, margin=margin)
        self.library.call("frcrn_live_start", stream.handle, byref(options), byref(self.handle))
        self.latency = self.library.c.frcrn_live_latency(self.handle)

    def exchange(self, block: np.ndarray) -> np.ndarray:
        buffer = np.array(block, np.float32)  # a copy: the samples come back in it
        status = self.library.c.frcrn_live_exchange(
            self.handle, _pointer(buffer), _pointer(buffer), buffer.size
        )
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


def test_a_block_that_is_too_large_is_refused(stream: Stream) -> None:
    live = Live(stream, 64)
    buffer = np.ones(65, np.float32)
    arguments = (live.handle, _pointer(buffer), _pointer(buffer), 65)
    assert live.library.c.frcrn_live_exchange(*arguments) == 1
    assert live.library.c.frcrn_live_exchange(None, _pointer(buffer), _pointer(buffer), 1) == 1
    live.stop()
    with pytest.raises(Exception, match="FRCRN_ARGUMENT.*max_block"):
        Live(stream, (1 << 20) + 1)
