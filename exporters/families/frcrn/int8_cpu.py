"""FRCRN for INT8 on processors: products of matrices; see row_layers.py for the layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn.gpu import MaskingFrcrn, PairedGains, PairedUNet
from frcrn_export.exporters.families.frcrn.int8_cpu_layers import (
    RowDecoder,
    RowFsmn,
    RowGains,
    RowLastDecoder,
    encoder,
    first_encoder,
)
from frcrn_export.exporters.families.frcrn.network import LEAKY_SLOPE
from frcrn_export.exporters.families.frcrn.streaming_layers import (
    Clock,
    Stage,
    StreamingGains,
    StreamingPart,
)
from frcrn_export.exporters.streaming_core import States


class StreamingRowUNet(StreamingPart):
    """[B, 2, P, F] to the same shape, `delay` frames behind. `ahead` as in StreamingPairedUNet."""

    def __init__(self, unet: frcrn.UNet, ahead: Sequence[bool]) -> None:
        super().__init__()
        paired = PairedUNet(unet)
        self.ahead = tuple(ahead)
        self.delay = sum(self.ahead)
        rows = RowUNet(unet, self.ahead, streaming=True)
        self.first_encoder = rows.first_encoder
        self.encoder_fsmns = rows.encoder_fsmns
        self.encoders = rows.encoders
        self.bottleneck = rows.bottleneck
        self.decoders = rows.decoders
        self.last_decoder = rows.last_decoder
        self.decoder_fsmns = rows.decoder_fsmns
        self.skip_gains = StreamingGains(list(paired.skip_gains))
        self.decoder_gains = nn.ModuleList(StreamingGains([g]) for g in paired.decoder_gains)

    def step(self, spec: Tensor, clock: Clock, states: States, name: str) -> Tensor:
        depth, frames = len(self.ahead), spec.shape[2]
        late = [sum(self.ahead[: i + 1]) for i in range(depth)]
        # Level i, the input of encoder i and the output of the decoder for the same rows, has i
        # frames more than the utterance.
        coming = clock.stages([(0, level) for level in range(depth + 1)])
        going = clock.stages([(late[i], depth - 1 - i) for i in range(depth - 2)])

        # The widest level is delayed as a spectrum, a fiftieth of its size, and recomputed.
        spec = (spec * coming[0].inside).permute(0, 2, 3, 1)  # [B, P, F, 2]
        joined = states.past(f"{name}.encoder0", spec, late[-2] + 1, axis=1)
        x = self._first(joined[:, late[-2] :])  # [B, P, F', 2C]
        levels: list[Tensor] = []
        for i, conv in enumerate(self.encoders):
            levels.append(x)
            x = self.encoder_fsmns[i](x) * _inside(coming[i + 1])
            x = F.leaky_relu(conv(states.past(f"{name}.encoder{i + 1}", x, 1, axis=1)), LEAKY_SLOPE)
        for i, layer in enumerate(self.bottleneck):
            assert isinstance(layer, RowFsmn)
            products = layer.products(x) * _inside(coming[depth])
            x = layer.of_products(states.past(f"{name}.fsmn{i}", products, layer.past, axis=1), x)
        gains = self.skip_gains.of_rows(levels, coming[1:depth], states, f"{name}.skips")
        levels[0] = self._first(joined[:, : frames + 1])
        if late[-2]:
            gains[0] = states.delayed(f"{name}.gain_late", gains[0], late[-2])

        for i, decoder in enumerate(self.decoders):
            x = decoder(states.past(f"{name}.decoder{i}", x, int(self.ahead[i]), axis=1))
            x = self.decoder_fsmns[i](x)
            if i < len(self.decoder_gains):
                layer = self.decoder_gains[i]
                assert isinstance(layer, StreamingGains)
                x = x * layer.of_rows([x], [going[i]], states, f"{name}.gain{i}")[0]
            level = depth - 2 - i
            skip = levels[level] * gains[level]
            if level > 0 and late[i]:
                skip = states.delayed(f"{name}.late{level}", skip, late[i])
            x = torch.cat((x, skip), dim=3)  # [B, P, F, 4C]
        last = self.last_decoder.products(x)
        if self.ahead[-1]:
            last = states.past(f"{name}.decoder{depth - 1}", last, 1, axis=1)
        else:
            last = F.pad(last, (0, 0, 0, 0, 0, 1))
        y: Tensor = self.last_decoder(last)
        return y

    def _first(self, spec: Tensor) -> Tensor:
        return F.leaky_relu(self.first_encoder(spec), LEAKY_SLOPE)


def _inside(stage: Stage) -> Tensor:
    """[B, P, 1, 1]."""
    return stage.inside.transpose(1, 2)


class RowUNet(nn.Module):
    """[B, 2, T, F] to the same shape. `ahead`: which decoders take a future frame; by default all.

    Streams go through its layers one by one, see StreamingRowUNet.
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
    """Gains [B, T or 1, 1, 2C] from the frames so far, or all of [B, T, F, 2C]."""

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
