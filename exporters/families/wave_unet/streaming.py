"""Streaming form of a causal `wave-unet-16k`: each layer keeps the past of its input.

Zeros for a past are the zero padding at the start, so nothing has to be masked; a causal network
has no look-ahead past its own hop, so there is no look-ahead and nothing to do at the end.

Every layer is a matrix product of all frames of a call, of all streams of the batch: a call has
few frames (1 or 2 in most layers). A convolution of these, stream by stream, fills no tile of a
processor's kernels and reads its weights again for every stream. Signals lie as [B, N, C]: strides
are reshapes, and a window of frames is one row. All layers, whatever their size: convolutions are
slower in calls of a few hops, and catch up at 16 (see docs/performance.md).
"""

from collections.abc import Iterator
from math import ceil, gcd

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
        analysis, synthesis = network.analysis, network.synthesis
        self.analysis = None if analysis is None else down(analysis)
        self.encoder = nn.ModuleList(down(conv, relu=True) for conv in lowered.encoder)
        self.context = nn.ModuleList(down(conv, relu=True) for conv in lowered.context)
        self.decoder = nn.ModuleList(up(conv, relu=True) for conv in lowered.decoder)
        self.out = up(lowered.out)
        self.synthesis = None if synthesis is None else up(synthesis)
        self.residual = network.residual

    def states(self) -> tuple[StateSpec, ...]:
        """One for each layer that has a past, in the order of the layers."""
        return tuple(
            StateSpec(name=name, next=f"{name}.next", shape=("batch", layer.past, layer.channels))
            for name, layer in self.named_modules()
            if isinstance(layer, StreamingProduct) and layer.past > 0
        )

    def forward(self, wave: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        pasts = iter(states)
        following: list[Tensor] = []
        samples = wave.shape[2]
        x = bands = wave.to(self.out.weight.dtype).reshape(-1, samples, 1)  # [B, N, 1]
        if self.analysis is not None:
            bands = self.analysis(x, pasts, following)  # [B, N / stride, C]
            x = log_magnitude(bands)
        skips: list[Tensor] = []
        for layer in self.encoder:
            x = layer(x, pasts, following)  # [B, N / stride, C]
            skips.append(x)
        skips.pop()
        for layer in self.context:
            x = x + layer(x, pasts, following)  # [B, N / hop, C]
        for layer in self.decoder:
            x = torch.cat([layer(x, pasts, following), skips.pop()], dim=2)  # [B, N / stride, 2C]
        output = self.out(x, pasts, following)  # [B, N, 1], or of the shape of the bands
        if self.synthesis is not None:
            output = self.synthesis(bands * torch.sigmoid(output), pasts, following)
        output = output.reshape(-1, 1, samples).to(wave.dtype)
        return wave + output if self.residual else output, *following


class StreamingProduct(nn.Module):
    """A causal convolution [B, N, C] -> [B, N / stride * factor, C' / factor], and its ReLU.

    As a matrix product: a row is the window of one output, its taps side by side. `weight` is that
    of the convolution, [C', C, taps]; its past are the frames before N that the first output needs.
    Channel r * C' / factor + c is channel c of the r-th of `factor` frames.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: int = 1,
        dilation: int = 1,
        factor: int = 1,
        relu: bool = False,
    ) -> None:
        super().__init__()
        outputs, self.channels, taps = weight.shape
        if self.channels == 1:  # a waveform is copied by whole strides, not sample by sample
            weight = F.pad(weight, (-taps % stride, 0))
            taps = weight.shape[2]
        self.past = (taps - 1) * dilation + 1 - stride
        self.stride, self.dilation, self.factor, self.relu = stride, dilation, factor, relu
        self.weight = nn.Parameter(weight.permute(2, 1, 0).reshape(-1, outputs))  # [taps * C, C']
        self.bias = None if bias is None else nn.Parameter(bias.clone())

    def forward(self, x: Tensor, pasts: Iterator[Tensor], following: list[Tensor]) -> Tensor:
        frames = x.shape[1] // self.stride
        x = self._windows(_after_past(x, self.past, pasts, following), frames)
        # One operator for product and bias is one in INT8 too. [B * N / stride, C']
        y = x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)
        if self.relu:
            y = F.relu(y)
        return y.reshape(-1, frames * self.factor, y.shape[1] // self.factor)

    def _windows(self, x: Tensor, frames: int) -> Tensor:
        """x [B, past + N, C] -> [B * frames, taps * C], the window of each output."""
        taps = len(self.weight) // self.channels
        block = gcd(self.stride, taps) if self.dilation == 1 else 1  # frames copied at once
        first = range(0, frames * self.stride, self.stride)
        offsets = range(0, taps * self.dilation, self.dilation * block)
        wanted = [(start + offset) // block for start in first for offset in offsets]
        blocks = x.shape[1] // block
        if wanted != list(range(blocks)):
            x = x.reshape(-1, blocks, block * self.channels)
            x = x.index_select(1, torch.tensor(wanted))
        return x.reshape(-1, len(self.weight))


def down(conv: nn.Module, relu: bool = False) -> StreamingProduct:
    """A causal convolution; its past is its left padding, or longer by some zero weights."""
    assert isinstance(conv, PaddedConv1d)
    return StreamingProduct(
        conv.weight, conv.bias, stride=conv.stride[0], dilation=conv.dilation[0], relu=relu
    )


def up(conv: nn.Module, relu: bool = False) -> StreamingProduct:
    """A causal transposed convolution.

    The `stride` frames that follow from a frame and its past are computed as channels. So the past
    is that of the input, and no sum is left open from one call to the next.
    """
    assert isinstance(conv, TrimmedConvTranspose1d)
    assert conv.start == 0
    stride, kernel = conv.stride[0], conv.kernel_size[0]
    taps = ceil(kernel / stride)
    # Frame r after frame n is the sum of x[n - d] * weight[d * stride + r].
    weight = F.pad(conv.weight, (0, taps * stride - kernel))
    weight = weight.reshape(*weight.shape[:2], taps, stride).flip(2)
    weight = weight.permute(3, 1, 0, 2).flatten(0, 1)  # [stride * C', C, taps]
    bias = None if conv.bias is None else conv.bias.repeat(stride)
    return StreamingProduct(weight, bias, factor=stride, relu=relu)


def _after_past(x: Tensor, past: int, pasts: Iterator[Tensor], following: list[Tensor]) -> Tensor:
    """The next past and `x` on one axis [B, past + N, C]; what it ends with is the following."""
    if past == 0:
        return x
    before = next(pasts)
    x = torch.cat([before.to(x.dtype), x], dim=1)
    following.append(x.narrow(1, x.shape[1] - past, past).to(before.dtype))
    return x
