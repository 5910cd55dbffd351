"""A U-Net of FRCRN frame by frame, equal to the offline one over the whole utterance.

Encoders and the bottleneck are causal: their state is the frame before. Each decoder needs one
frame of the future, so what it puts out is one frame behind what it takes; the skip connections
wait for it in delay lines. The first frames that come out of a delayed stage are of no meaning, and
zero padding is part of what the offline network computes, at both ends. So whatever passes over
time is zero where its frame does not belong to the utterance.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.lowering.complex_conv import ComplexPair
from frcrn_export.exporters.lowering.fsmn import ComplexFsmn, Memory
from frcrn_export.exporters.lowering.long_unet import without_time_padding
from frcrn_export.exporters.lowering.squeeze_excite import ComplexSqueezeExcite
from frcrn_export.exporters.lowering.stream_states import States
from frcrn_export.exporters.lowering.unet import LoweredUNet


@dataclass(frozen=True)
class Clock:
    """Where in their streams the frames of a call are.

    `index` [B, 1, P, 1] counts the frames that a stage has been given from 0, `end` [B, 1, 1, 1]
    is how many frames the utterance has; both count to 2^24. `dtype` is what the network
    computes in.
    """

    index: Tensor
    end: Tensor
    dtype: torch.dtype

    def behind(self, frames: int) -> Clock:
        """The clock of a stage whose frames come `frames` later."""
        return replace(self, index=self.index - frames) if frames else self

    def inside(self, longer: int) -> Tensor:
        """1 where a frame belongs to a tensor `longer` frames longer than the utterance, else 0."""
        mask = (self.index >= 0) & (self.index < self.end + longer)
        return mask.to(self.dtype)


class StreamingUNet(nn.Module):
    """[B, 2, P, F] to the same shape, `delay` frames behind; shares the weights of a LoweredUNet.

    `ahead` says for each decoder whether it waits for its future frame; one that does not takes
    zeros for it.
    """

    def __init__(self, unet: LoweredUNet, ahead: Sequence[bool]) -> None:
        super().__init__()
        self.ahead = tuple(ahead)
        self.delay = sum(self.ahead)
        self.first_encoder = without_time_padding(unet.first_encoder)
        self.encoder_fsmns = unet.encoder_fsmns
        self.encoders = without_time_padding(unet.encoders)
        self.bottleneck = nn.ModuleList(StreamingMemory(layer) for layer in unet.bottleneck)
        decoders = [*unet.decoders, unet.last_decoder]
        self.decoders = nn.ModuleList(
            decoder if waits else _without_future(decoder)
            for decoder, waits in zip(decoders, self.ahead, strict=True)
        )
        self.decoder_fsmns = unet.decoder_fsmns
        self.skip_gains = nn.ModuleList(map(StreamingGains, unet.skip_gains))
        self.decoder_gains = nn.ModuleList(map(StreamingGains, unet.decoder_gains))

    def forward(self, spec: Tensor, clock: Clock, states: States, name: str) -> Tensor:
        depth = len(self.decoders)
        x: ComplexPair = self.first_encoder(
            states.past(f"{name}.encoder0", spec * clock.inside(0), 1)
        )
        skips: list[ComplexPair] = []
        for i in range(depth - 1):
            inside = clock.inside(i + 1)
            skips.append(self.skip_gains[i](x, clock, inside, states, f"{name}.skip{i}"))
            re, im = self.encoder_fsmns[i](x)
            x = self.encoders[i](
                _past((re * inside, im * inside), 1, states, f"{name}.encoder{i + 1}")
            )
        for i, layer in enumerate(self.bottleneck):
            x = layer(x, clock.inside(depth), states, f"{name}.fsmn{i}")

        inputs = [_past(x, int(self.ahead[0]), states, f"{name}.decoder0")]
        late = 0
        for i, decoder in enumerate(self.decoders):
            y = decoder(*inputs)
            late += self.ahead[i]
            if i == depth - 1:
                break
            x = self.decoder_fsmns[i](y)
            if i < len(self.decoder_gains):
                now = clock.behind(late)
                inside = now.inside(depth - 1 - i)
                x = self.decoder_gains[i](x, now, inside, states, f"{name}.gain{i}")
            waits = int(self.ahead[i + 1])
            skip = _late(skips.pop(), late, waits, states, f"{name}.late{i}")
            inputs = [_past(x, waits, states, f"{name}.decoder{i + 1}"), skip]
        assert isinstance(y, Tensor)
        return y


class StreamingMemory(nn.Module):
    """A complex FSMN layer over time; its state are the past inputs of the depthwise filters."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, ComplexFsmn)
        self.layer = layer

    def forward(self, x: ComplexPair, inside: Tensor, states: States, name: str) -> ComplexPair:
        re, im = x
        layer = self.layer

        def memory(part: Memory, given: Tensor, suffix: str) -> Tensor:
            p = part.project(F.relu(part.linear(given))) * inside
            past = part.memory.kernel_size[0] - 1
            y: Tensor = part.memory(states.past(f"{name}.{suffix}", p, past))
            return y

        real = memory(layer.re_of_re, re, "re_re") + memory(layer.minus_im_of_im, im, "im_im")
        imag = memory(layer.re_of_im, im, "re_im") + memory(layer.im_of_re, re, "im_re")
        return real + (layer.minus(im) + re), imag + (im + re)


class StreamingGains(nn.Module):
    """Squeeze-and-excitation over the frames so far, or the last so many."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, ComplexSqueezeExcite)
        assert layer.pooling != "global", "a mean over the whole utterance cannot stream"
        self.layer = layer
        self.frames = None if layer.pooling == "cumulative" else layer.pooling

    def forward(
        self, x: ComplexPair, clock: Clock, inside: Tensor, states: States, name: str
    ) -> ComplexPair:
        count = (clock.index + 1).clamp(min=1)  # [B, 1, P, 1]
        re, im = (
            self._means(part.to(count.dtype), count, inside, states, f"{name}.{suffix}")
            for part, suffix in zip(x, ("re", "im"), strict=True)
        )
        gain_re, gain_im = self.layer.of_means(re.to(x[0].dtype), im.to(x[1].dtype))
        return x[0] * gain_re, x[1] * gain_im

    def _means(self, x: Tensor, count: Tensor, inside: Tensor, states: States, name: str) -> Tensor:
        """[B, C, P, F] to the means [B, C, P, 1] of what came so far."""
        x = x.mean(3, keepdim=True)
        if self.frames is None:
            # Added up as differences from the mean, which stays exact for hours.
            mean = states.value(name, (x.shape[1], 1, 1))
            steps = (x - mean) * (inside / count)
            if x.shape[2] == 1:
                means = mean + steps
                states.keep(means)
                return means
            means = mean + (steps * count).cumsum(2) / count
            states.keep(means[:, :, -1:])
            return means
        joined = states.past(name, x * inside, self.frames - 1)
        means = F.avg_pool2d(joined, (self.frames, 1), stride=1)  # [B, C, P, 1], of what is there
        return means * (self.frames / count.clamp(max=self.frames))


def _past(x: ComplexPair, frames: int, states: States, name: str) -> ComplexPair:
    re, im = x
    return states.past(f"{name}.re", re, frames), states.past(f"{name}.im", im, frames)


def _late(x: ComplexPair, late: int, past: int, states: States, name: str) -> ComplexPair:
    """The frames of `late` calls ago, with `past` more before them."""
    frames = x[0].shape[2]
    re, im = _past(x, late + past, states, name)
    return re[:, :, : frames + past], im[:, :, : frames + past]


def _without_future(decoder: nn.Module) -> nn.Module:
    """A copy of a decoder that takes the frame after the present one for zeros."""
    present = copy.deepcopy(decoder)
    for conv in present.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size[0] == 2:
            _keep_tap(conv, 0)
        elif isinstance(conv, nn.ConvTranspose2d):  # whose filter runs backwards
            _keep_tap(conv, 1)
            conv.padding = (0, 0)
    return present


def _keep_tap(conv: nn.Conv2d | nn.ConvTranspose2d, tap: int) -> None:
    """Leave one of the two taps over time."""
    weight = conv.weight[:, :, tap : tap + 1].clone()
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.kernel_size = (1, conv.kernel_size[1])
