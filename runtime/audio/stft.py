"""Short-time Fourier transform around a core: the pre and post ops in NumPy.

Without centring it is the published conv-STFT: a frame of `window_length` samples is followed by
zeros where `fft_length` is larger, and goes back through the pseudo-inverse of the DFT. With
`center` it is torch.stft and torch.istft: the inverse DFT, cut to the window.
"""

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import StftSpec, Window

# Added to the overlap-added windows, as published: keeps the division defined at the edges.
WINDOW_SUM_EPS = 1e-8


class Stft:
    """Analysis and synthesis for one `StftSpec`. Holds no state, so threads may share it.

    `window_product` is the analysis window times the synthesis window: its overlap-added sum is the
    divisor. Raises ValueError where the window or the FFT has an odd length.
    """

    def __init__(self, spec: StftSpec) -> None:
        if spec.window_length % 2 or spec.fft_length % 2:
            raise ValueError(
                f"window_length {spec.window_length} and fft_length {spec.fft_length} must be even"
            )
        self.spec = spec
        window = periodic_window(spec.window, spec.window_length)
        synthesis = periodic_window(spec.synthesis_window or spec.window, spec.window_length)
        self.window = window.astype(np.float32)
        self.synthesis_window = synthesis.astype(np.float32)
        self.window_product = (window * synthesis).astype(np.float32)

    def analysis(self, wave: Float32Array) -> Float32Array:
        """wave [B, N] float32 -> spec [B, 2, F, T] float32 (real, imaginary).

        T = `spec.frames(N)`; the samples after the last full frame are left out. Raises ValueError
        where N < `spec.shortest`.
        """
        spec = self.spec
        if wave.ndim != 2 or wave.shape[1] < spec.shortest:
            raise ValueError(
                f"analysis takes [B, N] with N >= {spec.shortest}, got {list(wave.shape)}"
            )
        margins = ((0, 0), (spec.margin, spec.margin))
        if spec.mirrors:
            wave = np.pad(wave, margins, mode="reflect")
        elif spec.center:
            wave = np.pad(wave, margins)
        windows = np.lib.stride_tricks.sliding_window_view(wave, spec.window_length, axis=1)
        frames = windows[:, :: spec.hop_length] * self.window  # [B, T, window_length]
        if spec.offset:
            frames = np.pad(frames, ((0, 0), (0, 0), (spec.offset, 0)))
        bins = np.fft.rfft(frames, n=spec.fft_length).transpose(0, 2, 1)  # [B, F, T]
        return np.stack((bins.real, bins.imag), axis=1).astype(np.float32, copy=False)

    def synthesis(self, spec: Float32Array) -> Float32Array:
        """spec [B, 2, F, T] float32 -> wave [B, `spec.samples(T)`] float32.

        Each frame goes through the inverse DFT and the window, is overlap-added, and divided by the
        overlap-added product of the windows + 1e-8.
        """
        if spec.ndim != 4 or spec.shape[1:3] != (2, self.spec.bins) or spec.shape[3] < 1:
            raise ValueError(
                f"synthesis takes [B, 2, {self.spec.bins}, T >= 1], got {list(spec.shape)}"
            )
        frames = self.inverse_frames(spec)
        weights = np.broadcast_to(self.window_product, (1, *frames.shape[1:]))
        wave = self._overlap_add(frames) / (self._overlap_add(weights) + WINDOW_SUM_EPS)
        first = self.spec.margin
        inner = wave[:, first : first + self.spec.samples(spec.shape[3])]
        return inner.astype(np.float32, copy=False)

    def inverse_frames(self, spec: Float32Array) -> Float32Array:
        """Windowed frames [B, T, window_length], not yet added up, from spectra [B, 2, F, T].

        With `center` through the inverse DFT, else through the pseudo-inverse.

        With K the [2F, W] basis (rows cos, -sin; cut to the window length W of an N-point DFT) the
        pseudo-inverse is (K'K)^-1 K'. K's = N/2 irfft(s) with the bins at 0 and N/2 counted twice,
        and K'K = N/2 I + (u u' + v v') / 2 with u = (1, 1, ...), v = (1, -1, ...), which inverts
        in closed form. For W = N this is the plain irfft.
        """
        N, W, first = self.spec.fft_length, self.spec.window_length, self.spec.offset
        # Contiguous, so that a frame's result does not depend on the number of frames.
        bins = np.ascontiguousarray((spec[:, 0] + 1j * spec[:, 1]).transpose(0, 2, 1))  # [B, T, F]
        if self.spec.center:
            frames = np.fft.irfft(bins, n=N)[..., first : first + W]
        else:
            bins[..., [0, -1]] *= 2
            frames = np.fft.irfft(bins, n=N)[..., :W]
            even = frames[..., 0::2].sum(axis=-1, keepdims=True)
            odd = frames[..., 1::2].sum(axis=-1, keepdims=True)
            frames[..., 0::2] -= 2 * even / (N + W)
            frames[..., 1::2] -= 2 * odd / (N + W)
        return frames.astype(np.float32, copy=False) * self.synthesis_window

    def _overlap_add(self, frames: Float32Array) -> Float32Array:
        """[B, T, window_length] -> [B, window_length + hop_length * (T - 1)]."""
        hop, W = self.spec.hop_length, self.spec.window_length
        batch, count, _ = frames.shape
        wave = np.zeros((batch, W + hop * (count - 1)), np.float32)
        # Every `step`-th frame starts where the previous one ended, so these are added in one step.
        step = -(-W // hop)
        for first in range(min(step, count)):
            chosen = frames[:, first::step]
            length = step * hop
            target = np.zeros((batch, chosen.shape[1], length), np.float32)
            target[..., :W] = chosen
            flat = target.reshape(batch, -1)[:, : wave.shape[1] - first * hop]
            wave[:, first * hop : first * hop + flat.shape[1]] += flat
        return wave


def periodic_window(kind: Window, length: int) -> npt.NDArray[np.float64]:
    """A periodic window [length], as torch's and scipy's with `periodic` or `fftbins`."""
    angles = 2 * np.pi * np.arange(length) / length
    if kind == "hann":
        return 0.5 - 0.5 * np.cos(angles)
    if kind == "hamming":
        return 0.54 - 0.46 * np.cos(angles)
    return np.sin(angles / 2)
