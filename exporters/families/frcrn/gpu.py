"""FRCRN for GPUs: few large convolutions; see paired_layers.py for the layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn.complex_conv import complex_linear
from frcrn_export.exporters.families.frcrn.gpu_layers import (
    PairedDecoder,
    PairedEncoder,
    PairedFirstEncoder,
    PairedFsmn,
    PairedGains,
    parts_to_channels,
)
from frcrn_export.exporters.families.frcrn.network import FRCRN


class Mask(nn.Module):
    """The sum of both masks, times the spectrum: three [B, 2, F, T] to one."""

    def forward(self, spec: Tensor, u1: Tensor, u2: Tensor) -> Tensor:
        mask = torch.tanh(u1) + torch.tanh(u2)
        mask_re, mask_im = mask[:, :1], mask[:, 1:]
        re, im = spec[:, :1], spec[:, 1:]
        return torch.cat((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)


class PairedUNet(nn.Module):
    """[B, 2, T, F] to the same shape."""

    def __init__(self, unet: frcrn.UNet) -> None:
        super().__init__()
        layer: Callable[[str], Any] = unet.get_submodule
        last = unet.depth - 1

        def fsmn(name: str, index: int = 1, over_time: bool = False) -> PairedFsmn:
            re, im = (layer(f"{name}.fsmn_{part}_L{index}") for part in ("re", "im"))
            return PairedFsmn(re, im, over_time)

        self.first_encoder = PairedFirstEncoder(layer("encoder0"))
        self.skip_gains = nn.ModuleList(PairedGains(layer(f"se_layer_enc{i}")) for i in range(last))
        self.encoder_fsmns = nn.ModuleList(fsmn(f"fsmn_enc{i + 1}") for i in range(last))
        self.encoders = nn.ModuleList(PairedEncoder(layer(f"encoder{i + 1}")) for i in range(last))
        self.bottleneck = nn.Sequential(*(fsmn("fsmn", i, over_time=True) for i in (1, 2)))
        self.decoders = nn.ModuleList(PairedDecoder(layer(f"decoder{i}")) for i in range(last + 1))
        self.decoder_fsmns = nn.ModuleList(fsmn(f"fsmn_dec{i}") for i in range(last))
        self.decoder_gains = nn.ModuleList(
            PairedGains(layer(f"se_layer_dec{i}")) for i in range(last - 1)
        )
        self.linear = complex_linear(unet.linear)

    def forward(self, spec: Tensor) -> Tensor:
        x = self.first_encoder(spec)  # [2B, C, T + 1, F']
        skips = []
        layers = zip(self.skip_gains, self.encoder_fsmns, self.encoders, strict=True)
        for gains, fsmn, encoder in layers:
            skips.append(x * gains(x))
            x = encoder(fsmn(x))
        x = self.bottleneck(x)
        for i, fsmn in enumerate(self.decoder_fsmns):
            x = fsmn(self.decoders[i](x))
            if i < len(self.decoder_gains):
                x = x * self.decoder_gains[i](x)
            x = torch.cat((x, skips.pop()), dim=1)
        y: Tensor = self.linear(parts_to_channels(self.decoders[-1](x)))
        return y


class MaskingFrcrn(nn.Module):
    """Spectrum [B, 2, F, T] (real, imaginary) to the enhanced spectrum of the same shape.

    By two U-Nets [B, 2, T, F] to the same shape, in whatever form.
    """

    def __init__(self, unet: nn.Module, unet2: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.unet2 = unet2
        self.mask = Mask()

    def forward(self, spec: Tensor) -> Tensor:
        u1 = self.unet(spec.transpose(2, 3))  # [B, 2, T, F]
        u2 = self.unet2(u1)
        y: Tensor = self.mask(spec, u1.transpose(2, 3), u2.transpose(2, 3))
        return y


def pair_frcrn(network: FRCRN) -> MaskingFrcrn:
    """The form of ``network`` for GPUs, in eval mode and of its dtype; the weights are copied."""
    with torch.no_grad():
        return MaskingFrcrn(PairedUNet(network.unet), PairedUNet(network.unet2)).eval()
