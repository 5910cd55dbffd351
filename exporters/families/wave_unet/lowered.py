"""Deployable form of `wave-unet-16k`: batch norms folded, no training code."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.wave_unet.network import (
    PaddedConv1d,
    TrimmedConvTranspose1d,
    WaveUNet,
    log_magnitude,
)
from frcrn_export.exporters.module_passes import fold_batch_norm


def lower_wave_unet(network: WaveUNet) -> nn.Module:
    """A module [B, 1, N] -> [B, 1, N] equal to `network` in evaluation mode, in its dtype.

    N is a multiple of `network.config.hop`, which the caller checks.
    """
    return LoweredWaveUNet(network).eval().requires_grad_(False)


class LoweredWaveUNet(nn.Module):
    """[B, 1, N] -> [B, 1, N]: the U-Net, and what it does to the input or its bands."""

    def __init__(self, network: WaveUNet) -> None:
        super().__init__()
        self.analysis = copy.deepcopy(network.analysis)
        self.layers = LoweredLayers(network)
        self.synthesis = copy.deepcopy(network.synthesis)
        self.residual = network.residual

    def forward(self, wave: Tensor) -> Tensor:
        if self.analysis is not None and self.synthesis is not None:
            bands = self.analysis(wave)  # [B, C, N / stride]
            masked: Tensor = self.synthesis(
                bands * torch.sigmoid(self.layers(log_magnitude(bands)))
            )
            return masked
        output: Tensor = self.layers(wave)
        return wave + output if self.residual else output


class LoweredLayers(nn.Module):
    """The same convolutions as in WaveUNet, each with the batch norm after it folded in."""

    def __init__(self, network: WaveUNet) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(map(_folded, network.encoder))
        self.context = nn.ModuleList(map(_folded, network.context))
        self.decoder = nn.ModuleList(map(_folded, network.decoder))
        self.out = copy.deepcopy(network.out)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for conv in self.encoder:
            x = F.relu(conv(x))  # [B, C, N / stride]
            skips.append(x)
        skips.pop()
        for conv in self.context:
            x = x + F.relu(conv(x))  # [B, C, N / hop]
        for conv in self.decoder:
            x = torch.cat([F.relu(conv(x)), skips.pop()], dim=1)  # [B, 2C, N / stride]
        output: Tensor = self.out(x)  # of the shape of the input
        return output


def _folded(layers: nn.Module) -> nn.Module:
    """The convolution of a (convolution, batch norm, ReLU) with the batch norm in it."""
    assert isinstance(layers, nn.Sequential)
    conv, norm = copy.deepcopy(layers[0]), layers[1]
    assert isinstance(conv, (PaddedConv1d, TrimmedConvTranspose1d))
    assert isinstance(norm, nn.BatchNorm1d)
    out_dim = 1 if isinstance(conv, TrimmedConvTranspose1d) else 0
    weight, bias = fold_batch_norm(conv.weight, conv.bias, norm, out_dim)
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    return conv
