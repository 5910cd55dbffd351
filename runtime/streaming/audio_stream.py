"""Audio of any rate and number of channels as streams, for pipes and files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.high_pass import HighPassFilter
from frcrn_export.runtime.audio.source import AudioSource
from frcrn_export.runtime.bundle.manifest import Manifest
from frcrn_export.runtime.errors import BackendError, OutputError, UserError
from frcrn_export.runtime.sessions.registry import ENGINE_BACKENDS
from frcrn_export.runtime.sessions.session import warn_of_limit
from frcrn_export.runtime.streaming.multi import MultiStream
from frcrn_export.runtime.streaming.network import Network
from frcrn_export.runtime.streaming.session import StreamSession
from frcrn_export.runtime.streaming.stream import replace_unusable


class AudioStream:
    """One recording or broadcast, block by block. Every channel is a stream of its own.

    Rates other than the network's are resampled in both directions, which adds to the delay.
    """

    def __init__(
        self,
        network: Network,
        sample_rate: int,
        channels: int = 1,
        gain: float | None = None,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
    ) -> None:
        """The options are those of `StreamingDenoiser`. Raises UserError for too few rows."""
        rows = len(network.session.inputs)
        if network.session.backend in ENGINE_BACKENDS and rows < channels:
            try:
                network.session.resize(channels)
            except BackendError as error:  # the error has the command that builds one
                raise UserError(
                    f"{channels} channels: take --backend onnxruntime, or another engine: {error}"
                ) from error
        self.network = network
        self.sample_rate, self.channels = sample_rate, channels
        self.attenuation_limit = attenuation_limit
        self.replaced_samples = 0
        self.given = self.returned = 0  # samples of each channel
        rate, high_pass = network.manifest.sample_rate, network.manifest.high_pass
        self._high_pass: HighPassFilter | None = None
        if high_pass is not None and sample_rate != rate:  # a resampler rings at the edges of DC
            self._high_pass = HighPassFilter(high_pass.streaming_cutoff_hz, sample_rate)
            network = replace(network, manifest=network.manifest.with_high_pass(False))
        self._many = MultiStream(network, channels, restore_level)
        self._streams = [self._many.add(gain, attenuation_limit) for _ in range(channels)]
        self.latency = self._many.latency
        self._inward = _resampler(sample_rate, rate, channels)
        self._outward = _resampler(rate, sample_rate, channels)

    @property
    def failed_calls(self) -> int:
        """How many calls of the network, over all channels, gave NaN or infinity."""
        return self._many.all_failed_calls

    @property
    def limited_calls(self) -> int:
        """How many calls, over all channels, were louder than the precision holds."""
        return self._many.all_limited_calls

    def process(self, block: Float32Array) -> Float32Array:
        """The next samples [C, n] in [-1, 1] -> the finished samples [C, m].

        Samples that are not finite become 0 first, so that no filter keeps them.
        """
        block = block.astype(np.float32)
        self.replaced_samples += replace_unusable(block)
        self.given += block.shape[1]
        if self._high_pass is not None:
            block = self._high_pass(block).astype(np.float32)
        done = self._outward(self._denoise(self._inward(block)))
        self.returned += done.shape[1]
        return done

    def flush(self) -> Float32Array:
        """End the stream and give the remaining samples [C, m]: as many came out as went in."""
        nothing = np.zeros((self.channels, 0), np.float32)
        done = self._denoise(self._inward(nothing, last=True))
        rest = self._many.flush_all()
        tail = np.stack([rest[stream] for stream in self._streams])
        parts = (self._outward(done), self._outward(tail, last=True))
        missing = self.given - self.returned
        out = np.zeros((self.channels, missing), np.float32)
        whole = np.concatenate(parts, axis=1)[:, :missing]
        out[:, : whole.shape[1]] = whole
        self.returned = self.given
        return out

    def _denoise(self, block: Float32Array) -> Float32Array:
        done = self._many.process(dict(zip(self._streams, block, strict=True)))
        return np.stack([done[stream] for stream in self._streams])


class _Same:
    """The resampler for equal rates."""

    def __call__(self, block: Float32Array, last: bool = False) -> Float32Array:
        return block


class _Resampler:
    """soxr's filter, continued from block to block [C, n]."""

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        import soxr

        self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
        self._channels = channels

    def __call__(self, block: Float32Array, last: bool = False) -> Float32Array:
        out: Float32Array = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        return np.ascontiguousarray(out.reshape(-1, self._channels).T)


def _resampler(from_rate: int, to_rate: int, channels: int) -> _Same | _Resampler:
    return _Same() if from_rate == to_rate else _Resampler(from_rate, to_rate, channels)


@dataclass(frozen=True)
class StreamedSources:
    """Denoises whole sources as streams, with the interface of a `Denoiser`."""

    network: Network

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.network.manifest

    @property
    def session(self) -> StreamSession:
        """The session that runs the network."""
        return self.network.session

    def stream(
        self,
        source: AudioSource,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
    ) -> Iterator[Float32Array]:
        """Blocks [C, n] that concatenate to the output of a pipe for the source."""
        audio = AudioStream(
            self.network,
            source.sample_rate,
            source.channels,
            restore_level=restore_level,
            attenuation_limit=attenuation_limit,
        )
        for block in source.blocks():
            done = audio.process(block)
            if done.shape[1]:
                yield done
        rest = audio.flush()
        if audio.limited_calls:
            warn_of_limit(source.name, self.session.entry)
        if audio.failed_calls:
            entry = self.session.entry
            remedy = "; take --precision fp32" * (entry.precision != "fp32")
            raise OutputError(
                f"{entry.path}: {audio.failed_calls} calls of {self.session.backend} gave samples "
                f"that are NaN or infinite{remedy}"
            )
        yield rest


class Meter:
    """Measures the calls of one stream.

    `misses` counts the calls that took longer than their samples last: a live stream falls behind
    then. `delay` is the largest number of samples that had gone in, or were arriving, and had not
    come out: the delay of all causes, resampling included.
    """

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self.busy_seconds = 0.0
        self.calls = self.misses = self.delay = 0
        self._accounted = 0  # input samples whose output has come

    @contextmanager
    def call(self) -> Iterator[None]:
        """Measure one call of `AudioStream.process`."""
        before = self._stream.returned
        started = perf_counter()
        yield
        self.add(perf_counter() - started, before)

    def add(self, seconds: float, returned_before: int) -> None:
        """Count a call of this duration, before which this many samples had come out."""
        given, returned = self._stream.given, self._stream.returned
        self.busy_seconds += seconds
        self.delay = max(self.delay, given - returned_before)
        if returned > returned_before:
            self.calls += 1
            self.misses += seconds > (given - self._accounted) / self._stream.sample_rate
            self._accounted = given

    @property
    def audio_seconds(self) -> float:
        """The duration of the input."""
        return self._stream.given / self._stream.sample_rate

    @property
    def real_time_factor(self) -> float:
        """Processing time over audio time: below 1 is faster than real time."""
        return self.busy_seconds / self.audio_seconds if self._stream.given else 0.0

    @property
    def delay_ms(self) -> float:
        """The delay in milliseconds."""
        return 1000 * self.delay / self._stream.sample_rate
