"""FRCRN frame by frame: both U-Nets in sequence, and the mask on the delayed spectrum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn.gpu import PairedUNet
from frcrn_export.exporters.families.frcrn.int8_cpu import StreamingRowUNet
from frcrn_export.exporters.families.frcrn.network import FRCRN, UNet
from frcrn_export.exporters.families.frcrn.streaming_cpu import StreamingPartsUNet
from frcrn_export.exporters.families.frcrn.streaming_gpu import StreamingPairedUNet
from frcrn_export.exporters.families.frcrn.streaming_layers import Clock, StreamingPart
from frcrn_export.exporters.family import Form
from frcrn_export.exporters.streaming_core import States, StatesRecorder, StreamingCore
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, StateSpec
from frcrn_export.runtime.errors import UserError

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

    def __init__(self, unet: StreamingPart, unet2: StreamingPart) -> None:
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
    network: FRCRN, chunk: int, lookahead: int | None = None, form: Form = "fp32"
) -> StreamingCore:
    """The streaming form of a network whose squeeze-and-excitation is causal.

    `lookahead` 0 to twice the depth, None for the full look-ahead. `form`: for processors, for GPUs
    (in float32 here), for INT8 on processors.
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
    return stream_with(network, chunk, decoders_ahead(depth, lookahead), form)


@torch.no_grad()
def stream_with(network: FRCRN, chunk: int, ahead: Ahead, form: Form = "fp32") -> StreamingCore:
    """The streaming form in which the decoders that `ahead` names wait for their future frame."""
    bins = network.config.bins
    parts: dict[Form, Callable[[UNet, Sequence[bool]], StreamingPart]] = {
        "fp32": lambda unet, waits: StreamingPartsUNet(unet, bins, waits),
        "fp16": lambda unet, waits: StreamingPairedUNet(PairedUNet(unet), waits),
        "int8_cpu": StreamingRowUNet,
    }
    unets = zip((network.unet, network.unet2), ahead, strict=True)
    module = StreamingFrcrn(*(parts[form](unet, waits) for unet, waits in unets)).eval()
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
