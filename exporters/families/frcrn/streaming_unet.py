"""A U-Net of FRCRN frame by frame, equal to the offline one over the whole utterance.

Encoders and the bottleneck are causal: their state is the frame before. Each decoder needs one
frame of the future, so what it puts out is one frame behind what it takes; the skip connections
wait for it in delay lines. The first frames that come out of a delayed stage are of no meaning, and
zero padding is part of what the offline network computes, at both ends. So whatever passes over
time is zero where its frame does not belong to the utterance.

It is made of the layers for GPUs, on processors too: a call has so few frames that it reads every
weight for little work, and the form with the fewest weights and kernels is the fastest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.gpu import PairedUNet
from frcrn_export.exporters.families.frcrn.gpu_layers import (
    PairedFsmn,
    parts_to_batch,
    parts_to_channels,
)
from frcrn_export.exporters.families.frcrn.long import without_time_padding
from frcrn_export.exporters.families.frcrn.stream_clock import Clock, Stage
from frcrn_export.exporters.families.frcrn.streaming_decoder import StreamingDecoder
from frcrn_export.exporters.families.frcrn.streaming_gains import StreamingGains
from frcrn_export.exporters.stream_states import States


class StreamingUNet(nn.Module):
    """[B, 2, P, F] to the same shape, `delay` frames behind; shares the weights of a PairedUNet.

    `ahead` says for each decoder whether it waits for its future frame; one that does not takes
    zeros for it.
    """

    def __init__(self, unet: PairedUNet, ahead: Sequence[bool]) -> None:
        super().__init__()
        self.ahead = tuple(ahead)
        self.delay = sum(self.ahead)
        self.first_encoder = without_time_padding(unet.first_encoder)
        self.encoder_fsmns = unet.encoder_fsmns
        self.encoders = without_time_padding(unet.encoders)
        self.bottleneck = nn.ModuleList(map(StreamingMemory, unet.bottleneck))
        self.decoders = nn.ModuleList(map(StreamingDecoder, unet.decoders, self.ahead))
        self.decoder_fsmns = unet.decoder_fsmns
        self.skip_gains = StreamingGains(list(unet.skip_gains))
        self.decoder_gains = nn.ModuleList(StreamingGains([g]) for g in unet.decoder_gains)
        self.linear = unet.linear

    def forward(self, spec: Tensor, clock: Clock, states: States, name: str) -> Tensor:
        depth, frames = len(self.decoders), spec.shape[2]
        late = [sum(self.ahead[: i + 1]) for i in range(depth)]
        # Level i, the input of encoder i and the output of the decoder for the same rows, has i
        # frames more than the utterance.
        coming = clock.stages([(0, level) for level in range(depth + 1)])
        going = clock.stages([(late[i], depth - 1 - i) for i in range(depth - 2)])

        # The widest level waits as a spectrum, a fiftieth of its size, and is computed again.
        joined = states.past(f"{name}.encoder0", spec * coming[0].inside, late[-2] + 1)
        x = self.first_encoder(joined[:, :, late[-2] :])  # [2B, C, P, F']
        levels: list[Tensor] = []
        for i, encoder in enumerate(self.encoders):
            levels.append(x)
            x = parts_to_channels(self.encoder_fsmns[i](x)) * coming[i + 1].inside
            x = encoder(parts_to_batch(states.past(f"{name}.encoder{i + 1}", x, 1)))
        for i, layer in enumerate(self.bottleneck):
            x = layer(x, coming[depth], states, f"{name}.fsmn{i}")
        gains = self.skip_gains(levels, coming[1:depth], states, f"{name}.skips")
        levels[0] = self.first_encoder(joined[:, :, : frames + 1])
        gains[0] = _late(gains[0], late[-2], states, f"{name}.gain_late")

        y = x
        for i, decoder in enumerate(self.decoders):
            past = int(self.ahead[i])
            y = decoder(
                parts_to_batch(states.past(f"{name}.decoder{i}", parts_to_channels(x), past))
            )
            if i == depth - 1:
                break
            y = self.decoder_fsmns[i](y)
            if i < len(self.decoder_gains):
                gains_now = self.decoder_gains[i]([y], [going[i]], states, f"{name}.gain{i}")
                y = y * gains_now[0]
            level = depth - 2 - i
            skip = levels[level] * gains[level]
            if level > 0:
                skip = _late(skip, late[i], states, f"{name}.late{level}")
            x = torch.cat((y, skip), dim=1)  # [2B, 2C, P, F']
        enhanced: Tensor = self.linear(parts_to_channels(y))
        return enhanced


class StreamingMemory(nn.Module):
    """A complex FSMN layer over time; its state are the past inputs of the depthwise filters."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, PairedFsmn)
        self.layer = layer

    def forward(self, x: Tensor, stage: Stage, states: States, name: str) -> Tensor:
        layer = self.layer
        p = parts_to_channels(layer.project(F.relu(layer.linear(x)))) * stage.inside
        past = layer.memory.kernel_size[0] - 1
        memory = layer.memory(parts_to_batch(states.past(name, p, past)))
        y: Tensor = layer.of_memories(memory, x)
        return y


def _late(x: Tensor, late: int, states: States, name: str) -> Tensor:
    """The frames [2B, C, P, F] of `late` calls ago."""
    if late == 0:
        return x
    joined = states.past(name, parts_to_channels(x), late)
    return parts_to_batch(joined[:, :, : x.shape[2]])
