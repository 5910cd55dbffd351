"""The short-time Fourier transform of a stream: hop by hop, with its own state.

Put end to end, what these give is what `runtime.stft.Stft` gives for the whole signal, the first
and last edges and the division by the window sum included. All states are buffers made once; what
is still allocated for a hop is what NumPy's FFT does.
"""

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.stft import WINDOW_SUM_EPS, Stft
from frcrn_export.runtime.bundle.manifest import StftSpec


class StreamingAnalysis:
    """Analysis of `batch` streams in step. State: the last window_length samples of each."""

    def __init__(self, spec: StftSpec, batch: int = 1) -> None:
        self._spec = spec
        self._window = Stft(spec).window
        self._samples = np.zeros((batch, spec.window_length), np.float32)
        self._frame = np.empty_like(self._samples)
        self.reset()

    def reset(self) -> None:
        """Begin new streams."""
        self._begun = False

    def samples(self, frames: int) -> int:
        """How many samples the next `frames` frames need: a hop each, the first a whole window."""
        spec = self._spec
        first = 0 if self._begun else spec.window_length - spec.hop_length
        return first + frames * spec.hop_length

    def analyse(self, wave: Float32Array, out: Float32Array) -> None:
        """The next samples [B, samples(k)] -> the next frames, into `out` [B, 2, F, k]."""
        hop, frames = self._spec.hop_length, out.shape[3]
        if wave.shape != (len(self._samples), self.samples(frames)):
            raise ValueError(
                f"{frames} frames take {[len(self._samples), self.samples(frames)]} samples, "
                f"got {list(wave.shape)}"
            )
        first = wave.shape[1] - frames * hop
        self._samples[:, hop : hop + first] = wave[:, :first]  # nothing but for the first call
        self._begun = True
        for index in range(frames):
            start = first + index * hop
            self._samples[:, :-hop] = self._samples[:, hop:]
            self._samples[:, -hop:] = wave[:, start : start + hop]
            np.multiply(self._samples, self._window, out=self._frame)
            bins = np.fft.rfft(self._frame, n=self._spec.fft_length)  # [B, F]
            out[:, 0, :, index] = bins.real
            out[:, 1, :, index] = bins.imag


class StreamingSynthesis:
    """Synthesis of `batch` streams in step. State: the sums that later frames still add to."""

    def __init__(self, spec: StftSpec, batch: int = 1) -> None:
        self._spec = spec
        self._stft = Stft(spec)
        self._squared = self._stft.window**2
        self._sum = np.zeros((batch, spec.window_length), np.float32)
        self._weight = np.zeros(spec.window_length, np.float32)
        self._divisor = np.empty_like(self._weight)

    def reset(self) -> None:
        """Begin new streams."""
        self._sum[:] = 0
        self._weight[:] = 0

    def synthesise(self, spec: Float32Array, out: Float32Array) -> None:
        """The next frames [B, 2, F, k] -> the samples that are whole, into `out` [B, k hops]."""
        hop = self._spec.hop_length
        frames = self._stft.inverse_frames(spec)  # [B, k, window_length]
        for index in range(frames.shape[1]):
            self._sum += frames[:, index]
            self._weight += self._squared
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
