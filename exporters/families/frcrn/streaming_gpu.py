"""FRCRN frame by frame on GPUs: few large convolutions; see gpu.py for the layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.gpu import (
    PairedDecoder,
    PairedFsmn,
    PairedUNet,
    cross,
    parts_to_batch,
    parts_to_channels,
)
from frcrn_export.exporters.families.frcrn.layers import conv_of
from frcrn_export.exporters.families.frcrn.long import without_time_padding
from frcrn_export.exporters.families.frcrn.streaming_layers import (
    Clock,
    Stage,
    StreamingGains,
    StreamingPart,
)
from frcrn_export.exporters.streaming_core import States


class StreamingPairedUNet(StreamingPart):
    """[B, 2, P, F] to the same shape, `delay` frames behind; shares the weights of a PairedUNet.

    `ahead` says for each decoder whether it waits for its future frame; others take zeros instead.
    """

    def __init__(self, unet: PairedUNet, ahead: Sequence[bool]) -> None:
        super().__init__()
        self.ahead = tuple(ahead)
        self.delay = sum(self.ahead)
        self.first_encoder = without_time_padding(unet.first_encoder)
        self.encoder_fsmns = unet.encoder_fsmns
        self.encoders = without_time_padding(unet.encoders)
        self.bottleneck = nn.ModuleList(map(StreamingPairedMemory, unet.bottleneck))
        self.decoders = nn.ModuleList(map(StreamingPairedDecoder, unet.decoders, self.ahead))
        self.decoder_fsmns = unet.decoder_fsmns
        self.skip_gains = StreamingGains(list(unet.skip_gains))
        self.decoder_gains = nn.ModuleList(StreamingGains([g]) for g in unet.decoder_gains)
        self.linear = unet.linear

    def step(self, spec: Tensor, clock: Clock, states: States, name: str) -> Tensor:
        depth, frames = len(self.decoders), spec.shape[2]
        late = [sum(self.ahead[: i + 1]) for i in range(depth)]
        # Level i, the input of encoder i and the output of the decoder for the same rows, has i
        # frames more than the utterance.
        coming = clock.stages([(0, level) for level in range(depth + 1)])
        going = clock.stages([(late[i], depth - 1 - i) for i in range(depth - 2)])

        # The widest level is delayed as a spectrum, a fiftieth of its size, and recomputed.
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


class StreamingPairedMemory(nn.Module):
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


class StreamingPairedDecoder(nn.Module):
    """Doubles the frequency axis of frames that come with their next frame, if it `waits`.

    Without it that frame is taken for zeros, and the filters have one tap over time. Even and odd
    rows have a convolution each, as long as their filters are.
    """

    def __init__(self, decoder: nn.Module, waits: bool) -> None:
        super().__init__()
        assert isinstance(decoder, PairedDecoder)
        weight = decoder.conv.weight[:, :, : 2 if waits else 1]  # [2 * 2C', C, 2, taps]
        even_re, odd_re, even_im, odd_im = weight.chunk(4)
        self.rows_less = decoder.rows_less
        even, odd = torch.cat((even_re, even_im)), torch.cat((odd_re, odd_im))
        # The first tap of the shorter filter is its zero padding.
        self.even, self.odd = conv_of(even), conv_of(odd[..., self.rows_less :])
        self.affine = decoder.affine

    def forward(self, x: Tensor) -> Tensor:
        around = self.even.kernel_size[1] - 1
        even_re, even_im = cross(self.even(F.pad(x, (around, around))))  # [B, C', P, F']
        odd_re, odd_im = cross(self.odd(F.pad(x, (around - self.rows_less, around))))
        _, channels, frames, half = even_re.shape
        phases = torch.cat((even_re, odd_re, even_im, odd_im), dim=1)
        rows = phases.view(-1, 2, channels * frames, half).permute(0, 2, 3, 1)
        parts = rows.contiguous().view(-1, 2 * channels, frames, 2 * half)  # rows in turn
        y: Tensor = self.affine(parts[..., : 2 * half - self.rows_less])
        return y
