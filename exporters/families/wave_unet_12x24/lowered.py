"""Deployable form of `wave-unet-12x24`: batch norms folded, interpolation in closed form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frcrn_export.exporters.families.wave_unet_12x24.network import NEGATIVE_SLOPE, WaveUNet12x24
from frcrn_export.exporters.module_passes import fold_batch_norm


def lower_wave_unet_12x24(network: WaveUNet12x24) -> nn.Module:
    """A module [B, 1, N] -> [B, 1, N] equal to `network` in evaluation mode, in its dtype.

    N is a multiple of `network.config.length_multiple`, which the caller checks.
    """
    return LoweredWaveUNet12x24(network).eval()


class LoweredWaveUNet12x24(nn.Module):
    """The encoder keeps its convolutions at full length: the skips need every sample."""

    def __init__(self, network: WaveUNet12x24) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _fold(block.get_submodule("main")) for block in network.encoder
        )
        self.middle = _fold(network.middle)
        self.decoder = nn.ModuleList(
            _fold(block.get_submodule("main")) for block in network.decoder
        )
        self.out = _fold(network.out)

    def forward(self, wave: Tensor) -> Tensor:
        x = wave  # [B, 1, N]
        skips = []
        for conv in self.encoder:
            x = F.leaky_relu(conv(x), NEGATIVE_SLOPE)
            skips.append(x)  # [B, 24 (i + 1), N / 2^i]
            x = x[:, :, ::2]
        x = F.leaky_relu(self.middle(x), NEGATIVE_SLOPE)
        for conv in self.decoder:
            x = torch.cat([upsample_linear_x2(x), skips.pop()], dim=1)
            x = F.leaky_relu(conv(x), NEGATIVE_SLOPE)
        return torch.tanh(self.out(torch.cat([x, wave], dim=1)))


def upsample_linear_x2(x: Tensor) -> Tensor:
    """Linear interpolation to twice the length with aligned corners: [B, C, n] -> [B, C, 2n].

    Output j reads the input at h_j = j (n - 1) / (2n - 1). As k - 1 < h_2k <= k <= h_2k+1 < k + 1,
    each output mixes two known neighbours:

        y[2k]     = x[k] + (k - h_2k)   (x[k - 1] - x[k])        k - h_2k   =           k / (2n - 1)
        y[2k + 1] = x[k] + (h_2k+1 - k) (x[k + 1] - x[k])        h_2k+1 - k = (n - 1 - k) / (2n - 1)

    The weights of the two samples that would lie outside the input are zero. The weights are
    computed by way of h, not in their shorter form, because PyTorch does so: in float32 that rounds
    them at the size of h, and exact ones would move the output of a trained network away from its
    published one (4e-4 of the peak at 16384 samples). Float16 has no such h at all, so for it they
    are computed in float32.
    """
    batch, channels, n = x.shape
    dtype = torch.float32 if x.dtype == torch.float16 else x.dtype
    k = torch.arange(n, dtype=dtype, device=x.device)  # [n]
    scale = k[-1:] / (2 * n - 1)  # (n - 1) / (2n - 1)
    step = x[:, :, 1:] - x[:, :, :-1]  # [B, C, n - 1], x[k + 1] - x[k]
    even = x + (2 * k * scale - k).to(x.dtype) * F.pad(step, (1, 0))
    odd = x + ((2 * k + 1) * scale - k).to(x.dtype) * F.pad(step, (0, 1))
    return torch.stack([even, odd], dim=-1).reshape(batch, channels, 2 * n)


def _fold(layers: nn.Module) -> nn.Conv1d:
    """One convolution for the convolution, and the batch norm if any, at the head of `layers`."""
    conv, norm, *_ = layers.children()
    assert isinstance(conv, nn.Conv1d)
    folded = nn.Conv1d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        padding=conv.padding[0],
        dtype=conv.weight.dtype,
    )
    weight, bias = conv.weight, conv.bias
    if isinstance(norm, nn.BatchNorm1d):
        weight, bias = fold_batch_norm(weight, bias, norm)
    folded.weight = nn.Parameter(weight.detach().clone())
    assert bias is not None
    folded.bias = nn.Parameter(bias.detach().clone())
    return folded
