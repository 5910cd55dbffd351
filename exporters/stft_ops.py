"""The pre and post ops as torch modules: STFT and inverse STFT as plain convolutions.

`pre.onnx` and `post.onnx` are made from them, for pipelines on the GPU. Without centring they are a
conv-STFT, with `center` torch.stft and torch.istft. `frcrn_export.runtime.audio.stft` is the same
transform in NumPy.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.runtime.bundle.manifest import StftSpec, Window

# Added to the overlap-added windows, as published: keeps the division defined at the edges.
# It is the bias of a convolution, since graph optimizers take a sum with so small a number for one
# with zero and remove it.
_WINDOW_SUM_EPS = 1e-8


def periodic_window(kind: Window, length: int) -> npt.NDArray[np.float64]:
    """A periodic window, [length]."""
    make = torch.hamming_window if kind == "hamming" else torch.hann_window
    window = make(length, periodic=True, dtype=torch.float64)
    return np.asarray(window.clamp(min=0).sqrt() if kind == "sqrt_hann" else window)


def dft_basis(spec: StftSpec) -> npt.NDArray[np.float64]:
    """Rows cos(2 pi f n / N), then rows -sin(2 pi f n / N): [2F, window_length].

    n runs over the samples of the FFT's input that the window covers.
    """
    covered = slice(spec.offset, spec.offset + spec.window_length)
    spectrum = np.fft.rfft(np.eye(spec.fft_length))[covered]  # [W, F]
    return np.concatenate([spectrum.real, spectrum.imag], axis=1).T


def inverse_basis(spec: StftSpec) -> npt.NDArray[np.float64]:
    """The contribution of each of the 2F values of a spectrum to a frame: [2F, window_length]."""
    if not spec.center:
        return np.asarray(np.linalg.pinv(dft_basis(spec)).T, np.float64)
    units = np.concatenate([np.eye(spec.bins), 1j * np.eye(spec.bins)])
    covered = slice(spec.offset, spec.offset + spec.window_length)
    return np.fft.irfft(units, n=spec.fft_length)[:, covered]


class StftAnalysis(nn.Module):
    """Waveform to spectrum: wave [B, N] -> spec [B, 2, F, T], real and imaginary part on axis 1."""

    weight: Tensor

    def __init__(self, spec: StftSpec) -> None:
        super().__init__()
        self.bins = spec.bins
        self.hop = spec.hop_length
        self.margin = spec.margin
        self.mode = "reflect" if spec.mirrors else "constant"
        basis = dft_basis(spec) * periodic_window(spec.window, spec.window_length)
        self.register_buffer("weight", torch.from_numpy(basis).float()[:, None])  # [2F, 1, W]

    def forward(self, wave: Tensor) -> Tensor:
        signal = wave.unsqueeze(1)  # [B, 1, N]
        if self.margin:
            signal = F.pad(signal, (self.margin, self.margin), mode=self.mode)
        spec = F.conv1d(signal, self.weight, stride=self.hop)  # [B, 2F, T]
        return spec.reshape(spec.shape[0], 2, self.bins, spec.shape[2])


class StftSynthesis(nn.Module):
    """Spectrum to waveform: spec [B, 2, F, T] -> wave [B, N], N = `StftSpec.samples(T)`.

    Each frame goes through the inverse of the DFT basis (the pseudo-inverse without centring) and
    the window, is overlap-added, and divided by the overlap-added product of the windows plus 1e-8.
    """

    weight: Tensor
    window_product: Tensor
    eps: Tensor

    def __init__(self, spec: StftSpec) -> None:
        super().__init__()
        self.bins = spec.bins
        self.hop = spec.hop_length
        self.margin = spec.margin
        window = periodic_window(spec.window, spec.window_length)
        synthesis = periodic_window(spec.synthesis_window or spec.window, spec.window_length)
        inverse = inverse_basis(spec) * synthesis
        product = window * synthesis
        self.register_buffer("weight", torch.from_numpy(inverse).float()[:, None])  # [2F, 1, W]
        self.register_buffer("window_product", torch.from_numpy(product).float()[None, None])
        self.register_buffer("eps", torch.tensor([_WINDOW_SUM_EPS]))

    def forward(self, spec: Tensor) -> Tensor:
        frames = spec.shape[3]
        flat = spec.reshape(spec.shape[0], 2 * self.bins, frames)  # [B, 2F, T]
        wave = F.conv_transpose1d(flat, self.weight, stride=self.hop)  # [B, 1, N + 2 margins]
        ones = torch.ones_like(flat[:1, :1])  # [1, 1, T]
        total = F.conv_transpose1d(ones, self.window_product, self.eps, self.hop)
        wave = (wave / total).squeeze(1)
        return wave[:, self.margin : -self.margin] if self.margin else wave
