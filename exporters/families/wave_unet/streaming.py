"""Streaming form of a causal `wave-unet-16k`: each layer keeps the past of its input.

Zeros for a past are the zero padding at the start, so nothing has to be masked; a causal network
has no look-ahead past its own hop, so there is no look-ahead and nothing to do at the end.
"""

from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.wave_unet.lowered import LoweredLayers
from frcrn_export.exporters.families.wave_unet.network import (
    PaddedConv1d,
    TrimmedConvTranspose1d,
    WaveUNet,
    log_magnitude,
)
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.runtime.bundle.manifest import StateSpec
from frcrn_export.runtime.errors import UserError


def stream_wave_unet(network: WaveUNet, hops: int) -> StreamingCore:
    """The streaming core of `network` for calls of `hops` hops, in its dtype and eval mode.

    Equal to the network over the whole stream. The states do not depend on `hops`. Raises UserError
    for a network that is not causal.
    """
    if not network.config.causal:
        raise UserError(
            "this wave-unet-16k is not causal and cannot stream: leave out --streaming, or give "
            "the checkpoint of a causal one with --checkpoint"
        )
    with torch.no_grad():
        module = StreamingWaveUNet(network).eval().requires_grad_(False)
    return StreamingCore(
        module, chunk=hops * network.hop, lookahead=0, states=module.states(), end=False
    )


class StreamingWaveUNet(nn.Module):
    """wave [B, 1, N] and the states -> enhanced [B, 1, N] and the next states; N whole hops."""

    def __init__(self, network: WaveUNet) -> None:
        super().__init__()
        lowered = LoweredLayers(network)
        self.analysis = None if network.analysis is None else StreamingConv1d(network.analysis)
        self.encoder = nn.ModuleList(map(StreamingConv1d, lowered.encoder))
        self.context = nn.ModuleList(map(StreamingConv1d, lowered.context))
        self.decoder = nn.ModuleList(map(StreamingConvTranspose1d, lowered.decoder))
        self.out = StreamingConvTranspose1d(lowered.out)
        synthesis = network.synthesis
        self.synthesis = None if synthesis is None else StreamingConvTranspose1d(synthesis)
        self.residual = network.residual

    def states(self) -> tuple[StateSpec, ...]:
        """One for each layer that has a past, in the order of the layers."""
        return tuple(
            StateSpec(name=name, next=f"{name}.next", shape=("batch", layer.channels, layer.past))
            for name, layer in self.named_modules()
            if isinstance(layer, (StreamingConv1d, StreamingConvTranspose1d)) and layer.past > 0
        )

    def forward(self, wave: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        pasts = iter(states)
        following: list[Tensor] = []
        x = bands = wave.to(self.out.weight.dtype)  # [B, 1, N]
        if self.analysis is not None:
            bands = self.analysis(x, pasts, following)  # [B, C, N / stride]
            x = log_magnitude(bands)
        skips: list[Tensor] = []
        for conv in self.encoder:
            x = F.relu(conv(x, pasts, following))  # [B, C, N / stride]
            skips.append(x)
        skips.pop()
        for conv in self.context:
            x = x + F.relu(conv(x, pasts, following))  # [B, C, N / hop]
        for conv in self.decoder:
            y = F.relu(conv(x, pasts, following))
            x = torch.cat([y, skips.pop()], dim=1)  # [B, 2C, N / stride]
        output = self.out(x, pasts, following)  # [B, 1, N], or of the shape of the bands
        if self.synthesis is not None:
            output = self.synthesis(bands * torch.sigmoid(output), pasts, following)
        output = output.to(wave.dtype)  # [B, 1, N]
        return wave + output if self.residual else output, *following


class StreamingConv1d(nn.Module):
    """A causal convolution [B, C, N] -> [B, C', N / stride]; its past is its left padding."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, PaddedConv1d)
        self.channels = conv.in_channels
        self.past = conv.pad[0]
        self.stride = conv.stride
        self.dilation = conv.dilation
        self.weight = nn.Parameter(conv.weight.clone())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.clone())

    def forward(self, x: Tensor, pasts: Iterator[Tensor], following: list[Tensor]) -> Tensor:
        x = _after_past(x, self.past, pasts, following)
        return F.conv1d(x, self.weight, self.bias, self.stride, 0, self.dilation)


class StreamingConvTranspose1d(nn.Module):
    """A causal transposed convolution [B, C, N] -> [B, C', N * stride], as a convolution.

    The `stride` samples that follow from a frame and its past are computed as channels. So the past
    is that of the input, and no sum is left open from one call to the next.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, TrimmedConvTranspose1d)
        assert conv.start == 0
        self.stride = conv.stride[0]
        self.channels = conv.in_channels
        self.out_channels = conv.out_channels
        taps = ceil(conv.kernel_size[0] / self.stride)
        self.past = taps - 1
        # Sample r of frame n is the sum of x[n - d] * weight[d * stride + r].
        weight = F.pad(conv.weight, (0, taps * self.stride - conv.kernel_size[0]))
        weight = weight.reshape(*weight.shape[:2], taps, self.stride).flip(2)
        self.weight = nn.Parameter(
            weight.permute(1, 3, 0, 2).flatten(0, 1)
        )  # [C' * stride, C, taps]
        bias = conv.bias
        self.bias = None if bias is None else nn.Parameter(bias.repeat_interleave(self.stride))

    def forward(self, x: Tensor, pasts: Iterator[Tensor], following: list[Tensor]) -> Tensor:
        frames = x.shape[2]
        x = _after_past(x, self.past, pasts, following)
        y = F.conv1d(x, self.weight, self.bias)  # [B, C' * stride, N]
        y = y.reshape(-1, self.out_channels, self.stride, frames).transpose(2, 3)
        return y.reshape(-1, self.out_channels, frames * self.stride)


def _after_past(x: Tensor, past: int, pasts: Iterator[Tensor], following: list[Tensor]) -> Tensor:
    """The next past and `x` on one axis [B, C, past + N]; what it ends with is the following."""
    if past == 0:
        return x
    before = next(pasts)
    x = torch.cat([before.to(x.dtype), x], dim=2)
    following.append(x.narrow(2, x.shape[2] - past, past).to(before.dtype))
    return x
