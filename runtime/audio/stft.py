"""Short-time Fourier transform around a core: the pre and post ops in NumPy.

The published conv-STFT of FRCRN: window sqrt(periodic Hann), no centring, no padding. A frame of
`window_length` samples is followed by zeros where `fft_length` is larger.
"""

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import StftSpec

# Added to the overlap-added squared window, as published: keeps the division defined at the edges.
WINDOW_SUM_EPS = 1e-8


class Stft:
    """Analysis and synthesis for one `StftSpec`. Holds no state, so threads may share it.

    Raises ValueError where the window or the FFT has an odd length.
    """

    def __init__(self, spec: StftSpec) -> None:
        if spec.window_length % 2 or spec.fft_length % 2:
            raise ValueError(
                f"window_length {spec.window_length} and fft_length {spec.fft_length} must be even"
            )
        self.spec = spec
        self.window = sqrt_hann(spec.window_length).astype(np.float32)

    def analysis(self, wave: Float32Array) -> Float32Array:
        """wave [B, N] float32 -> spec [B, 2, F, T] float32 (real, imaginary).

        T = 1 + (N - window_length) // hop_length; the samples after the last full frame are left
        out. Raises ValueError where N < window_length.
        """
        spec = self.spec
        if wave.ndim != 2 or wave.shape[1] < spec.window_length:
            raise ValueError(
                f"analysis takes [B, N] with N >= {spec.window_length}, got {list(wave.shape)}"
            )
        windows = np.lib.stride_tricks.sliding_window_view(wave, spec.window_length, axis=1)
        frames = windows[:, :: spec.hop_length] * self.window  # [B, T, window_length]
        bins = np.fft.rfft(frames, n=spec.fft_length).transpose(0, 2, 1)  # [B, F, T]
        return np.stack((bins.real, bins.imag), axis=1).astype(np.float32, copy=False)

    def synthesis(self, spec: Float32Array) -> Float32Array:
        """spec [B, 2, F, T] float32 -> wave [B, window_length + hop_length * (T - 1)] float32.

        Each frame goes through the pseudo-inverse of the DFT and the window, is overlap-added, and
        divided by the overlap-added squared window + 1e-8.
        """
        if spec.ndim != 4 or spec.shape[1:3] != (2, self.spec.bins) or spec.shape[3] < 1:
            raise ValueError(
                f"synthesis takes [B, 2, {self.spec.bins}, T >= 1], got {list(spec.shape)}"
            )
        frames = self.inverse_frames(spec)
        weights = np.broadcast_to(self.window**2, (1, *frames.shape[1:]))
        wave = self._overlap_add(frames) / (self._overlap_add(weights) + WINDOW_SUM_EPS)
        return wave.astype(np.float32, copy=False)

    def inverse_frames(self, spec: Float32Array) -> Float32Array:
        """Windowed frames [B, T, window_length], not yet added up, from spectra [B, 2, F, T].

        Through the pseudo-inverse of the DFT.

        With K the [2F, W] basis (rows cos, -sin; cut to the window length W of an N-point DFT) the
        pseudo-inverse is (K'K)^-1 K'. K's = N/2 irfft(s) with the bins at 0 and N/2 counted twice,
        and K'K = N/2 I + (u u' + v v') / 2 with u = (1, 1, ...), v = (1, -1, ...), which inverts
        in closed form. For W = N this is the plain irfft.
        """
        N, W = self.spec.fft_length, self.spec.window_length
        # Contiguous, so that a frame's result does not depend on how many go together.
        bins = np.ascontiguousarray((spec[:, 0] + 1j * spec[:, 1]).transpose(0, 2, 1))  # [B, T, F]
        bins[..., [0, -1]] *= 2
        frames = np.fft.irfft(bins, n=N)[..., :W]
        even = frames[..., 0::2].sum(axis=-1, keepdims=True)
        odd = frames[..., 1::2].sum(axis=-1, keepdims=True)
        frames[..., 0::2] -= 2 * even / (N + W)
        frames[..., 1::2] -= 2 * odd / (N + W)
        return frames.astype(np.float32, copy=False) * self.window

    def _overlap_add(self, frames: Float32Array) -> Float32Array:
        """[B, T, window_length] -> [B, window_length + hop_length * (T - 1)]."""
        hop, W = self.spec.hop_length, self.spec.window_length
        batch, count, _ = frames.shape
        wave = np.zeros((batch, self.spec.samples(count)), np.float32)
        # Every `step`-th frame starts where the one before has ended, so these add up in one go.
        step = -(-W // hop)
        for first in range(min(step, count)):
            chosen = frames[:, first::step]
            length = step * hop
            target = np.zeros((batch, chosen.shape[1], length), np.float32)
            target[..., :W] = chosen
            flat = target.reshape(batch, -1)[:, : wave.shape[1] - first * hop]
            wave[:, first * hop : first * hop + flat.shape[1]] += flat
        return wave


def sqrt_hann(length: int) -> npt.NDArray[np.float64]:
    """Square root of the periodic Hann window, [length]: sin(pi n / length)."""
    return np.sin(np.pi * np.arange(length) / length)
