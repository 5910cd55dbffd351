"""How a live stream is doing: real-time factor, deadlines, delay."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from frcrn_export.runtime.streaming.audio_stream import AudioStream


class Meter:
    """Measures the calls of one stream.

    `misses` counts the times that it took longer to compute samples than they last: then a live
    stream falls behind. `delay` is the largest number of samples that were given, or just arriving,
    and had not come out: the delay with all its causes, resampling included.
    """

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self.busy_seconds = 0.0
        self.calls = self.misses = self.delay = 0
        self._accounted = 0  # samples of the input that an output has followed

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each `AudioStream.process`."""
        before = self._stream.returned
        started = perf_counter()
        yield
        self.add(perf_counter() - started, before)

    def add(self, seconds: float, returned_before: int) -> None:
        """Count a call that took so long, before which so many samples had come out."""
        given, returned = self._stream.given, self._stream.returned
        self.busy_seconds += seconds
        self.delay = max(self.delay, given - returned_before)
        if returned > returned_before:
            self.calls += 1
            self.misses += seconds > (given - self._accounted) / self._stream.sample_rate
            self._accounted = given

    @property
    def audio_seconds(self) -> float:
        """How much audio was given."""
        return self._stream.given / self._stream.sample_rate

    @property
    def real_time_factor(self) -> float:
        """Processing time over audio time: below 1 is faster than real time."""
        return self.busy_seconds / self.audio_seconds if self._stream.given else 0.0

    @property
    def delay_ms(self) -> float:
        """The delay in milliseconds."""
        return 1000 * self.delay / self._stream.sample_rate
