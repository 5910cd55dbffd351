"""FRCRN for INT8 on processors: products of matrices; see row_layers.py for the layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn.gpu import MaskingFrcrn, PairedUNet
from frcrn_export.exporters.families.frcrn.gpu_layers import PairedGains
from frcrn_export.exporters.families.frcrn.int8_cpu_layers import (
    RowDecoder,
    RowFsmn,
    RowGains,
    RowLastDecoder,
    encoder,
    first_encoder,
)
from frcrn_export.exporters.families.frcrn.network_layers import LEAKY_SLOPE


class RowUNet(nn.Module):
    """[B, 2, T, F] to the same shape. `ahead`: which decoders take a future frame; by default all.

    Streams go through its layers one by one, see streaming_row_unet.py.
    """

    def __init__(
        self, unet: frcrn.UNet, ahead: Sequence[bool] = (), streaming: bool = False
    ) -> None:
        super().__init__()
        paired = PairedUNet(unet)
        around = 0 if streaming else 1
        self.first_encoder = first_encoder(paired.first_encoder, around)
        self.encoders = nn.ModuleList(encoder(layer, around) for layer in paired.encoders)
        self.decoders = nn.ModuleList(
            RowDecoder(layer, 2 if i else 1, not ahead or ahead[i])
            for i, layer in enumerate(paired.decoders[:-1])
        )
        self.last_decoder = RowLastDecoder(unet, not ahead or ahead[-1])
        self.encoder_fsmns = nn.ModuleList(map(RowFsmn, paired.encoder_fsmns))
        self.bottleneck = nn.ModuleList(RowFsmn(f, over_time=True) for f in paired.bottleneck)
        self.decoder_fsmns = nn.ModuleList(map(RowFsmn, paired.decoder_fsmns))
        self.skip_gains = nn.ModuleList(map(PooledGains, paired.skip_gains))
        self.decoder_gains = nn.ModuleList(map(PooledGains, paired.decoder_gains))

    def forward(self, spec: Tensor) -> Tensor:
        x = spec.permute(0, 2, 3, 1)  # [B, T, F, 2]
        x = F.leaky_relu(self.first_encoder(x), LEAKY_SLOPE)  # [B, T + 1, F', 2C]
        skips = []
        layers = zip(self.skip_gains, self.encoder_fsmns, self.encoders, strict=True)
        for gains, fsmn, conv in layers:
            skips.append(x * gains(x))
            x = F.leaky_relu(conv(fsmn(x)), LEAKY_SLOPE)
        for layer in self.bottleneck:
            x = layer(x)
        for i, decoder in enumerate(self.decoders):
            x = self.decoder_fsmns[i](decoder(x))
            if i < len(self.decoder_gains):
                x = x * self.decoder_gains[i](x)
            x = torch.cat((x, skips.pop()), dim=3)  # [B, T, F, 4C]
        y: Tensor = self.last_decoder(self.last_decoder.products(x))
        return y


class PooledGains(nn.Module):
    """Gains [B, T or 1, 1, 2C] of what came so far, or of all of [B, T, F, 2C]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, PairedGains)
        self.pool = layer.pool
        self.gains = RowGains(layer)

    def forward(self, x: Tensor) -> Tensor:
        means = self.pool(x.mean(2).transpose(1, 2)[..., None])  # [B, 2C, T or 1, 1]
        y: Tensor = self.gains(means[..., 0].transpose(1, 2))[:, :, None]
        return y


def row_frcrn(network: frcrn.FRCRN) -> MaskingFrcrn:
    """The form of ``network`` for INT8 on processors, in eval mode; the weights are copied."""
    with torch.no_grad():
        return MaskingFrcrn(RowUNet(network.unet), RowUNet(network.unet2)).eval()
