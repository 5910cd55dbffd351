"""FRCRN frame by frame: both U-Nets, one behind the other, and the mask on the spectrum of then."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn.gpu import PairedUNet
from frcrn_export.exporters.families.frcrn.int8_cpu_streaming import StreamingRowUNet
from frcrn_export.exporters.families.frcrn.network import FRCRN
from frcrn_export.exporters.families.frcrn.stream_clock import Clock
from frcrn_export.exporters.families.frcrn.streaming_unet import StreamingUNet
from frcrn_export.exporters.stream_states import States, StatesRecorder
from frcrn_export.exporters.streaming_core import StreamingCore
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

    def __init__(
        self, unet: StreamingUNet | StreamingRowUNet, unet2: StreamingUNet | StreamingRowUNet
    ) -> None:
        super().__init__()
        self.unet = unet
        self.unet2 = unet2

    def forward(self, spec: Tensor, end: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        following = States(states)
        enhanced = self.step(spec, end, following)
        return enhanced, *following.next

    def step(self, spec: Tensor, end: Tensor, states: States) -> Tensor:
        frames = spec.shape[3]
        position = states.value("position", (1,))  # frames given before this call, [B, 1]
        states.keep(position + frames)
        index = position[:, :, None, None] + torch.arange(frames, dtype=spec.dtype)[:, None]
        inside = next(self.unet.parameters()).dtype  # float16, or that of the spectrum
        clock = Clock(index, end[:, None, None, None], inside)

        turned = spec.transpose(2, 3)  # [B, 2, P, F]
        u1 = self.unet(turned.to(inside), clock, states, "unet")
        u2 = self.unet2(u1, clock.behind(self.unet.delay), states, "unet2")
        u1, u2 = u1.to(spec.dtype), u2.to(spec.dtype)
        late = self.unet2.delay
        mask = torch.tanh(states.past("mask.late", u1, late)[:, :, :frames]) + torch.tanh(u2)
        late += self.unet.delay
        then = states.past("spec.late", turned, late)[:, :, :frames]
        mask_re, mask_im = mask[:, :1], mask[:, 1:]
        re, im = then[:, :1], then[:, 1:]
        enhanced = torch.cat((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)
        return enhanced.transpose(2, 3)


@torch.no_grad()
def stream_frcrn(
    network: FRCRN, chunk: int, lookahead: int | None = None, rows: bool = False
) -> StreamingCore:
    """The streaming form of a network whose squeeze-and-excitation is causal.

    `lookahead` 0 to twice the depth, None for all of it. `rows`: for INT8 on processors. Raises
    UserError for another look-ahead, and for means over the whole utterance.
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
