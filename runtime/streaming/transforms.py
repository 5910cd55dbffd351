"""Transforms between the samples of a stream and the calls of its network.

A transform cuts a stream into calls: it turns the samples of each call into one row of the
network's input, and one row of its output back into samples.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.framing import padding_samples
from frcrn_export.runtime.audio.stft import WINDOW_SUM_EPS, Stft
from frcrn_export.runtime.bundle.manifest import (
    UNKNOWN_END,
    Padding,
    StateSpec,
    StftSpec,
    StreamingInfo,
)

StateArray = npt.NDArray[Any]  # of the dtype that the manifest says


def initial_state(spec: StateSpec) -> StateArray:
    """The state [1, ...] that a stream begins with."""
    return np.full((1, *spec.row_shape), spec.initial, spec.dtype)


class StreamingAnalysis:
    """Analysis of `batch` streams in lockstep. State: the samples that later frames still need.

    A transform that mirrors the signal at its edges waits for one sample more, which the first
    frame needs; it mirrors the end once `end_at` has told where that is.
    """

    def __init__(self, spec: StftSpec, batch: int = 1) -> None:
        self._spec = spec
        self._window = Stft(spec).window
        self._ahead = int(spec.mirrors)
        self._samples = np.zeros((batch, spec.window_length + self._ahead), np.float32)
        self._frame = np.zeros((batch, spec.fft_length), np.float32)
        self.reset()

    def reset(self) -> None:
        """Begin new streams."""
        self._samples[:] = 0
        self._given = 0
        self._end: int | None = None

    @property
    def delay(self) -> int:
        """The number of samples that a frame waits for beyond its hop."""
        return self._samples.shape[1] - self._spec.hop_length

    def end_at(self, samples: int) -> None:
        """Tell the number of samples of the streams; those beyond are padding (ignored)."""
        self._end = samples

    def samples(self, frames: int) -> int:
        """The samples that the next `frames` frames need: a hop each, for the first its window."""
        return self.total_samples(frames) if not self._given else frames * self._spec.hop_length

    def total_samples(self, frames: int) -> int:
        """The number of samples for this many frames from the beginning of a stream."""
        first = self._samples.shape[1] - self._spec.margin
        return first + (frames - 1) * self._spec.hop_length

    def analyse(self, wave: Float32Array, out: Float32Array) -> None:
        """The next samples [B, samples(k)] -> the next frames, into `out` [B, 2, F, k]."""
        frames, needed = out.shape[3], self.samples(out.shape[3])
        if wave.shape != (len(self._samples), needed):
            raise ValueError(
                f"{frames} frames take {[len(self._samples), needed]} samples, "
                f"got {list(wave.shape)}"
            )
        window, offset = self._spec.window_length, self._spec.offset
        windowed = self._frame[:, offset : offset + window]
        start = 0
        for index in range(frames):
            stop = start + self.samples(1)
            self._take(wave[:, start:stop])
            start = stop
            np.multiply(self._samples[:, :window], self._window, out=windowed)
            bins = np.fft.rfft(self._frame)  # [B, F]
            out[:, 0, :, index] = bins.real
            out[:, 1, :, index] = bins.imag

    def _take(self, new: Float32Array) -> None:
        """Append the samples of the next frame."""
        held, count = self._samples, new.shape[1]
        begins, self._given = not self._given, self._given + count
        if self._spec.mirrors and self._end is not None and self._given > self._end:
            new = self._mirrored(new, self._given - self._end)
        held[:, :-count] = held[:, count:]
        held[:, -count:] = new
        if self._spec.mirrors and begins:
            margin = self._spec.margin
            held[:, :margin] = held[:, 2 * margin : margin : -1]

    def _mirrored(self, new: Float32Array, beyond: int) -> Float32Array:
        """`new` with its last `beyond` samples mirrored from those before them."""
        joined = np.concatenate((self._samples, new), axis=1)
        end = joined.shape[1] - beyond
        count = max(0, min(beyond, end - 1))
        joined[:, end : end + count] = joined[:, end - count - 1 : end - 1][:, ::-1]
        return joined[:, -new.shape[1] :]


class StreamingSynthesis:
    """Synthesis of `batch` streams in lockstep. State: the sums that later frames still add to."""

    def __init__(self, spec: StftSpec, batch: int = 1) -> None:
        self._spec = spec
        self._stft = Stft(spec)
        self._sum = np.zeros((batch, spec.window_length), np.float32)
        self._weight = np.zeros(spec.window_length, np.float32)
        self._divisor = np.empty_like(self._weight)

    def reset(self) -> None:
        """Begin new streams."""
        self._sum[:] = 0
        self._weight[:] = 0

    def synthesise(self, spec: Float32Array, out: Float32Array) -> None:
        """The next frames [B, 2, F, k] -> the complete samples, into `out` [B, k hops].

        With `center` the first `margin` of a stream lie before its beginning.
        """
        hop = self._spec.hop_length
        frames = self._stft.inverse_frames(spec)  # [B, k, window_length]
        for index in range(frames.shape[1]):
            self._sum += frames[:, index]
            self._weight += self._stft.window_product
            self._divide(hop, out[:, index * hop : (index + 1) * hop])
            for state in (self._sum, self._weight):
                state[..., :-hop] = state[..., hop:]
                state[..., -hop:] = 0

    def tail(self, out: Float32Array) -> None:
        """The samples after the last frame's hop, into `out` [B, n <= window - hop length]."""
        self._divide(out.shape[1], out)

    def _divide(self, count: int, out: Float32Array) -> None:
        np.add(self._weight, WINDOW_SUM_EPS, out=self._divisor)
        np.divide(self._sum[:, :count], self._divisor[:count], out=out)


@dataclass(frozen=True)
class Latency:
    """The algorithmic delay of a stream, in samples, by what causes it.

    `chunk`: the samples of one call (of windows: the stride). `window`: the part of the analysis
    window beyond its hop. `lookahead`: the look-ahead of the network. `passes` is the cost: how
    often the network computes each sample, 1 for streaming cores.
    """

    chunk: int
    window: int
    lookahead: int
    passes: float = 1.0

    @property
    def samples(self) -> int:
        """The sum: sample i of the output has come once sample i + samples - 1 went in."""
        return self.chunk + self.window + self.lookahead


class Transform(Protocol):
    """The transform of one stream: into the network and out of it."""

    latency: Latency
    gain_interval: int  # samples from one gain to the next

    @property
    def end(self) -> float:
        """The `end` input of the network."""

    @property
    def must_restart(self) -> bool:
        """Whether the network cannot count the next call: it has to begin anew first."""

    def restart(self) -> None:
        """Say that the network has its initial states again: the next call is its first one.

        Until it has caught up with its look-ahead its output is replaced by silence.
        """

    def samples(self) -> int:
        """The number of samples that the next call takes."""

    def calls(self, samples: int) -> int:
        """Tell the length of the stream in samples; gives its number of calls."""

    def total_samples(self, calls: int) -> int:
        """The number of samples that this many calls take in all."""

    def analyse(self, wave: Float32Array, row: Float32Array) -> None:
        """The samples of the next call -> its input."""

    def synthesise(self, row: Float32Array) -> Float32Array:
        """The output of the next call -> the samples that it completes, perhaps none."""

    def tail(self) -> Float32Array:
        """The samples after the last call, once the end is known; perhaps none."""

    def reset(self) -> None:
        """Begin a new stream."""


class NetworkClock:
    """The place in a stream as its network counts it, in frames (samples of a network of waves).

    A network that knows the stream's end counts from its own beginning, in float32: exactly up to
    UNKNOWN_END. For streams without an end it begins anew before that.
    """

    def __init__(self, info: StreamingInfo) -> None:
        self._info = info
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self.given = 0  # to the network
        self.total = math.inf  # of the stream, once known
        self._start = 0  # of the network
        self._silent = 0  # outputs until the network has caught up with its look-ahead

    @property
    def end(self) -> float:
        """The `end` input of the network."""
        return UNKNOWN_END if math.isinf(self.total) else self.total - self._start

    @property
    def must_restart(self) -> bool:
        """Whether the network cannot count the next call."""
        if self._info.end is None:
            return False
        return self.given + self._info.chunk - self._start >= UNKNOWN_END

    def restart(self) -> None:
        """Say that the network has its initial states again."""
        self._start = self.given
        self._silent = self._info.lookahead

    def silence(self, output: Float32Array) -> None:
        """Zero what of an output [..., chunk] comes too early after a restart."""
        silent = min(self._silent, self._info.chunk)
        self._silent -= silent
        output[..., :silent] = 0


class _Clocked:
    """The part of a `Transform` that its clock gives."""

    _clock: NetworkClock

    @property
    def end(self) -> float:
        return self._clock.end

    @property
    def must_restart(self) -> bool:
        return self._clock.must_restart

    def restart(self) -> None:
        self._clock.restart()


class SpectrumTransform(_Clocked):
    """Frames of an STFT, `info.chunk` at a time.

    Drops output frames before 0 and from the end on, and the samples of centred frames before the
    beginning of the stream.
    """

    def __init__(self, stft: StftSpec, info: StreamingInfo, padding: Padding) -> None:
        hop = stft.hop_length
        self._stft, self._info, self._padding = stft, info, padding
        self._analysis = StreamingAnalysis(stft)
        self._synthesis = StreamingSynthesis(stft)
        self.latency = Latency(info.chunk * hop, self._analysis.delay, info.lookahead * hop)
        self.gain_interval = hop
        self._clock = NetworkClock(info)
        self._wave = np.empty((1, max(info.chunk * hop, stft.window_length - hop)), np.float32)
        self.reset()

    def reset(self) -> None:
        self._analysis.reset()
        self._synthesis.reset()
        self._clock.reset()
        self._frames_out = -self._info.lookahead
        self._returned = -self._stft.margin  # samples, below 0 before the beginning
        self._total: int | None = None  # number of samples of the offline transform, once known

    def samples(self) -> int:
        return self._analysis.samples(self._info.chunk)

    def calls(self, samples: int) -> int:
        whole = samples + padding_samples(samples, self._padding)
        frames = self._stft.frames(whole)
        self._analysis.end_at(whole)
        self._total = self._stft.samples(frames)
        self._clock.total = frames
        heard = min(frames, math.ceil((samples + self._stft.margin) / self._stft.hop_length))
        return math.ceil((heard + self._info.lookahead) / self._info.chunk)

    def total_samples(self, calls: int) -> int:
        return self._analysis.total_samples(calls * self._info.chunk)

    def analyse(self, wave: Float32Array, row: Float32Array) -> None:
        self._analysis.analyse(wave[None], row[None])
        self._clock.given += self._info.chunk
        beyond = self._clock.given - self._clock.total
        if beyond > 0:  # frames beyond those of the offline STFT
            row[..., max(0, self._info.chunk - int(beyond)) :] = 0

    def synthesise(self, row: Float32Array) -> Float32Array:
        first, chunk = self._frames_out, self._info.chunk
        self._frames_out += chunk
        self._clock.silence(row)
        start, stop = max(0, -first), int(min(chunk, self._clock.total - first))
        if start >= stop:
            return self._wave[0, :0]
        whole = (stop - start) * self._stft.hop_length
        self._synthesis.synthesise(row[None, :, :, start:stop], self._wave[:, :whole])
        return self._inside(whole)

    def tail(self) -> Float32Array:
        count = self._stft.window_length - self._stft.hop_length
        if self._frames_out < self._clock.total:
            count = 0  # later frames would follow, beyond the last sample of the stream
        self._synthesis.tail(self._wave[:, :count])
        return self._inside(count)

    def _inside(self, count: int) -> Float32Array:
        """Of the next `count` samples those that the offline transform has."""
        first = min(count, max(0, -self._returned))
        last = count if self._total is None else min(count, self._total - self._returned)
        self._returned += count
        return self._wave[0, first : max(first, last)]


class WaveTransform(_Clocked):
    """Samples as they are, `info.chunk` at a time; outputs before sample 0 are dropped."""

    def __init__(self, info: StreamingInfo, padding: Padding) -> None:
        self.latency = Latency(info.chunk, 0, info.lookahead)
        # The network's own hop where there is one, so that gains do not depend on the chunk.
        self.gain_interval = padding.size if info.chunk % padding.size == 0 else info.chunk
        self._info, self._padding = info, padding
        self._clock = NetworkClock(info)
        self.reset()

    def reset(self) -> None:
        self._meaningless = self._info.lookahead
        self._clock.reset()

    def samples(self) -> int:
        return self._info.chunk

    def calls(self, samples: int) -> int:
        self._clock.total = samples + padding_samples(samples, self._padding)
        return math.ceil((samples + self._info.lookahead) / self._info.chunk)

    def total_samples(self, calls: int) -> int:
        return calls * self._info.chunk

    def analyse(self, wave: Float32Array, row: Float32Array) -> None:
        row[0] = wave
        self._clock.given += len(wave)

    def synthesise(self, row: Float32Array) -> Float32Array:
        self._clock.silence(row)
        dropped = min(self._meaningless, self._info.chunk)
        self._meaningless -= dropped
        return row[0, dropped:]

    def tail(self) -> Float32Array:
        return np.empty(0, np.float32)
