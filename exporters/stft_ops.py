"""The pre and post ops as torch modules: STFT and inverse STFT made of plain convolutions.

They are the published conv-STFT of FRCRN (window sqrt(periodic Hann), no centring, no padding) and
become `pre.onnx` and `post.onnx`, for pipelines that stay on the GPU.
`frcrn_export.runtime.audio.stft` is the same transform in NumPy.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.runtime.bundle.manifest import StftSpec

# Added to the overlap-added squared window, as published: keeps the division defined at the edges.
# It is the bias of a convolution, since graph optimizers take a sum with so small a number for one
# with zero and remove it.
_WINDOW_SUM_EPS = 1e-8


def sqrt_hann(length: int) -> npt.NDArray[np.float64]:
    """Square root of the periodic Hann window, [length]."""
    return np.sin(np.pi * np.arange(length) / length)


def dft_basis(spec: StftSpec) -> npt.NDArray[np.float64]:
    """Rows cos(2 pi f n / N), then rows -sin(2 pi f n / N): [2F, window_length]."""
    spectrum = np.fft.rfft(np.eye(spec.fft_length))[: spec.window_length]  # [W, F]
    return np.concatenate([spectrum.real, spectrum.imag], axis=1).T


class StftAnalysis(nn.Module):
    """Waveform to spectrum: wave [B, N] -> spec [B, 2, F, T], real and imaginary part on axis 1."""

    weight: Tensor

    def __init__(self, spec: StftSpec) -> None:
        super().__init__()
        self.bins = spec.bins
        self.hop = spec.hop_length
        basis = dft_basis(spec) * sqrt_hann(spec.window_length)
        self.register_buffer("weight", torch.from_numpy(basis).float()[:, None])  # [2F, 1, W]

    def forward(self, wave: Tensor) -> Tensor:
        spec = F.conv1d(wave.unsqueeze(1), self.weight, stride=self.hop)  # [B, 2F, T]
        return spec.reshape(spec.shape[0], 2, self.bins, spec.shape[2])


class StftSynthesis(nn.Module):
    """Spectrum to waveform: spec [B, 2, F, T] -> wave [B, window_length + hop_length * (T - 1)].

    Each frame goes through the pseudo-inverse of the DFT basis and the window, is overlap-added,
    and divided by the overlap-added squared window plus 1e-8.
    """

    weight: Tensor
    squared_window: Tensor
    eps: Tensor

    def __init__(self, spec: StftSpec) -> None:
        super().__init__()
        self.bins = spec.bins
        self.hop = spec.hop_length
        window = sqrt_hann(spec.window_length)
        inverse = np.linalg.pinv(dft_basis(spec)).T * window
        self.register_buffer("weight", torch.from_numpy(inverse).float()[:, None])  # [2F, 1, W]
        self.register_buffer("squared_window", torch.from_numpy(window**2).float()[None, None])
        self.register_buffer("eps", torch.tensor([_WINDOW_SUM_EPS]))

    def forward(self, spec: Tensor) -> Tensor:
        frames = spec.shape[3]
        flat = spec.reshape(spec.shape[0], 2 * self.bins, frames)  # [B, 2F, T]
        wave = F.conv_transpose1d(flat, self.weight, stride=self.hop)  # [B, 1, N]
        ones = torch.ones_like(flat[:1, :1])  # [1, 1, T]
        total = F.conv_transpose1d(ones, self.squared_window, self.eps, self.hop)  # [1, 1, N]
        return (wave / total).squeeze(1)
