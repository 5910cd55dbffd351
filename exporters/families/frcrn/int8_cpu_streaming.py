"""A U-Net of FRCRN frame by frame in INT8 on processors: streaming_unet.py with rows of matrices.

A call has one frame or a few, so what counts is how many operations there are, and how many bytes
of weights they read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn.gpu import PairedUNet
from frcrn_export.exporters.families.frcrn.int8_cpu import RowUNet
from frcrn_export.exporters.families.frcrn.int8_cpu_layers import RowFsmn
from frcrn_export.exporters.families.frcrn.network_layers import LEAKY_SLOPE
from frcrn_export.exporters.families.frcrn.stream_clock import Clock, Stage
from frcrn_export.exporters.families.frcrn.streaming_gains import StreamingGains
from frcrn_export.exporters.stream_states import States


class StreamingRowUNet(nn.Module):
    """[B, 2, P, F] to the same shape, `delay` frames behind. `ahead` as in StreamingUNet."""

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

    def forward(self, spec: Tensor, clock: Clock, states: States, name: str) -> Tensor:
        depth, frames = len(self.ahead), spec.shape[2]
        late = [sum(self.ahead[: i + 1]) for i in range(depth)]
        # Level i, the input of encoder i and the output of the decoder for the same rows, has i
        # frames more than the utterance.
        coming = clock.stages([(0, level) for level in range(depth + 1)])
        going = clock.stages([(late[i], depth - 1 - i) for i in range(depth - 2)])

        # The widest level waits as a spectrum, a fiftieth of its size, and is computed again.
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
