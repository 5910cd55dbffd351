"""FRCRN frame by frame: both U-Nets in sequence, and the mask on the delayed spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.gpu import (
    PairedFsmn,
    PairedUNet,
    parts_to_batch,
    parts_to_channels,
)
from frcrn_export.exporters.families.frcrn.int8_cpu import StreamingRowUNet
from frcrn_export.exporters.families.frcrn.long import without_time_padding
from frcrn_export.exporters.families.frcrn.network import FRCRN
from frcrn_export.exporters.families.frcrn.streaming_layers import (
    Clock,
    Stage,
    StreamingDecoder,
    StreamingGains,
    StreamingPart,
)
from frcrn_export.exporters.streaming_core import States, StatesRecorder, StreamingCore
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, StateSpec
from frcrn_export.runtime.errors import UserError


class StreamingUNet(StreamingPart):
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
        self.bottleneck = nn.ModuleList(map(StreamingMemory, unet.bottleneck))
        self.decoders = nn.ModuleList(map(StreamingDecoder, unet.decoders, self.ahead))
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


# For each decoder of each U-Net, whether it waits for its future frame.
Ahead = tuple[tuple[bool, ...], tuple[bool, ...]]


# The order in which decoders (U-Net, decoder) give up their future frame: inner decoders, of the
# narrowest frames, before outer ones, as benchmarks/lookahead.py --order finds it.
_MEASURED_DEPTH = 7
_LEAST_HARMFUL_FIRST = [
    *((1, 1), (0, 0), (0, 1), (1, 0), (0, 2), (1, 2), (0, 3)),
    *((1, 3), (1, 6), (0, 4), (1, 4), (1, 5), (0, 5), (0, 6)),
]


class StreamingFrcrn(nn.Module):
    """(spec [B, 2, F, P], end [B], *states) to (enhanced [B, 2, F, P], *next states)."""

    def __init__(
        self, unet: StreamingUNet | StreamingRowUNet, unet2: StreamingUNet | StreamingRowUNet
    ) -> None:
        super().__init__()
        self.unet = unet
        self.unet2 = unet2
        self.delays = (unet.delay, unet2.delay)
        self.alike = ("unet", "unet2") if unet.ahead == unet2.ahead else ()
        self.counts = dict[str, int]()  # of the states of each U-Net

    def forward(self, spec: Tensor, end: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        following = States(states)
        enhanced = self.step(spec, end, following)
        return enhanced, *following.next

    def step(self, spec: Tensor, end: Tensor, states: States) -> Tensor:
        frames = spec.shape[3]
        position = states.value("position", (1,))  # frames given before this call, [B, 1]
        states.keep(position + frames)
        index = position[:, :, None, None] + torch.arange(frames, dtype=spec.dtype)[:, None]
        clock = Clock(index, end[:, None, None, None], spec.dtype)

        turned = spec.transpose(2, 3)  # [B, 2, P, F]
        u1, clock = self._through("unet", turned, clock, states)
        u2, _ = self._through("unet2", u1, clock, states)
        delay, late = self.delays
        mask = torch.tanh(states.past("mask.late", u1, late)[:, :, :frames]) + torch.tanh(u2)
        then = states.past("spec.late", turned, delay + late)[:, :, :frames]
        mask_re, mask_im = mask[:, :1], mask[:, 1:]
        re, im = then[:, :1], then[:, 1:]
        enhanced = torch.cat((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)
        return enhanced.transpose(2, 3)

    def _through(self, name: str, x: Tensor, clock: Clock, states: States) -> tuple[Tensor, Clock]:
        """What a U-Net makes of the next frames, and the clock of these."""
        unet: Any = self.get_submodule(name)
        if isinstance(states, StatesRecorder):
            known = len(states.specs)
            y = unet.step(x, clock, states, name)
            self.counts[name] = len(states.specs) - known
            return y, clock.behind(unet.delay)
        y, index, end = states.through(unet, self.counts[name], x, clock.index, clock.end)
        return y, Clock(index, end, clock.dtype)


@torch.no_grad()
def stream_frcrn(
    network: FRCRN, chunk: int, lookahead: int | None = None, rows: bool = False
) -> StreamingCore:
    """The streaming form of a network whose squeeze-and-excitation is causal.

    `lookahead` 0 to twice the depth, None for the full look-ahead. `rows`: for INT8 on processors.
    Raises UserError for other values, and for means over the whole utterance.
    """
    if network.config.pooling == "global":
        raise UserError(
            "squeeze-and-excitation over the whole utterance cannot stream; "
            "add --squeeze-excite cumulative (or window:SECONDS)"
        )
    depth = network.config.depth
    full = 2 * depth
    if lookahead is None:
        lookahead = full
    if not 0 <= lookahead <= full:
        raise UserError(f"--lookahead {lookahead}: this network takes 0 to {full} frames")
    return stream_with(network, chunk, decoders_ahead(depth, lookahead), rows)


@torch.no_grad()
def stream_with(network: FRCRN, chunk: int, ahead: Ahead, rows: bool = False) -> StreamingCore:
    """The streaming form in which the decoders that `ahead` names wait for their future frame."""
    bins = network.config.bins
    unets = zip((network.unet, network.unet2), ahead, strict=True)
    if rows:
        module = StreamingFrcrn(*(StreamingRowUNet(unet, waits) for unet, waits in unets))
    else:
        module = StreamingFrcrn(*(StreamingUNet(PairedUNet(u), waits) for u, waits in unets))
    module.eval()
    states = _states(module, bins, chunk)
    return StreamingCore(module, chunk, sum(map(sum, ahead)), states, end=True)


def decoders_ahead(depth: int, lookahead: int) -> Ahead:
    """Which decoders of each U-Net wait for their future frame."""
    inner_first = [(unet, decoder) for decoder in range(depth) for unet in (1, 0)]
    order = _LEAST_HARMFUL_FIRST if depth == _MEASURED_DEPTH else inner_first
    waiting = set(order[len(order) - lookahead :])
    first, second = (tuple((u, d) in waiting for d in range(depth)) for u in (0, 1))
    return first, second


def _states(module: StreamingFrcrn, bins: int, chunk: int) -> tuple[StateSpec, ...]:
    dtype = next(module.parameters()).dtype
    recorder = StatesRecorder(1, dtype)
    silence = torch.zeros(1, 2, bins, chunk, dtype=dtype)
    module.step(silence, torch.full((1,), UNKNOWN_END, dtype=dtype), recorder)
    return tuple(recorder.specs)
