"""The deployable layers of FRCRN: complex convolutions, memories, squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.network import (
    LEAKY_SLOPE,
    ComplexBatchNorm2d,
    ComplexConv2d,
    Fsmn,
    Pooling,
    causal_mean,
)

ComplexPair = tuple[Tensor, Tensor]  # real and imaginary part, of one shape
RealConv = nn.Conv2d | nn.ConvTranspose2d


@dataclass(frozen=True)
class ComplexWeights:
    """A complex convolution and its batch norm: the weights, and scale and shift of each part."""

    re: Tensor  # as in the network: [C', C, F, T], transposed convolutions [C, C', F, T]
    im: Tensor
    scale_re: Tensor  # [C']
    scale_im: Tensor
    shift_re: Tensor
    shift_im: Tensor


def complex_weights(conv_re: RealConv, conv_im: RealConv, bn: ComplexBatchNorm2d) -> ComplexWeights:
    assert conv_re.bias is not None
    assert conv_im.bias is not None
    scale_re, shift_re = _batch_norm_affine(bn.bn_re)
    scale_im, shift_im = _batch_norm_affine(bn.bn_im)
    return ComplexWeights(
        conv_re.weight,
        conv_im.weight,
        scale_re,
        scale_im,
        shift_re + scale_re * (conv_re.bias - conv_im.bias),
        shift_im + scale_im * (conv_re.bias + conv_im.bias),
    )


def _batch_norm_affine(bn: nn.BatchNorm2d) -> ComplexPair:
    """Scale and shift [C] of a batch norm in eval mode."""
    assert bn.running_var is not None
    assert bn.running_mean is not None
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return scale, bn.bias - scale * bn.running_mean


def conv_of(
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    dilation: tuple[int, int] = (1, 1),
) -> nn.Conv2d:
    """A convolution with the given weight [C', C / groups, T, F] and bias [C']."""
    out_channels, group_channels, *kernel_size = weight.shape
    conv = nn.Conv2d(
        group_channels * groups,
        out_channels,
        (kernel_size[0], kernel_size[1]),
        stride,
        padding,
        dilation,
        groups,
        bias=bias is not None,
        dtype=weight.dtype,
    )
    conv.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def complex_linear(layer: ComplexConv2d) -> nn.Conv2d:
    """A complex 1x1 convolution of one channel on [B, 2, T, F], real and imaginary part."""
    re, im = layer.conv_re, layer.conv_im
    assert re.bias is not None
    assert im.bias is not None
    real = torch.cat((re.weight, -im.weight), dim=1)
    imag = torch.cat((im.weight, re.weight), dim=1)
    bias = torch.cat((re.bias - im.bias, re.bias + im.bias))
    return conv_of(torch.cat((real, imag)), bias)


def depthwise_of(
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Conv2d:
    """A depthwise convolution with the given weight [C, 1, T, F] and bias [C]."""
    return conv_of(weight, bias, stride, groups=len(weight), dilation=dilation)


def decoder_taps(weight: Tensor, phase: int, inputs: int) -> list[Tensor]:
    """The filters of the even (0) or odd (1) output rows of a transposed convolution of stride 2.

    From [inputs * C, C', K, 2] to one [C', C, 2, K / 2] for each input.
    """
    taps = weight[:, :, phase::2].flip(2, 3).permute(1, 0, 3, 2)
    return list(taps.chunk(inputs, dim=1))


class ThreeProductConv(nn.Module):
    """(W_re + i W_im) * (re + i im), after Gauss:

    shared = W_re * (re + im)
    real = shared - (W_re + W_im) * im
    imag = shared + (W_im - W_re) * re

    The minus sign is part of the weight: a runtime can add to a convolution's output in place.
    Accumulates over several inputs, each with its own weights, instead of concatenating them.
    """

    def __init__(
        self,
        weights_re: list[Tensor],
        weights_im: list[Tensor],
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> None:
        super().__init__()

        def convs(weights: list[Tensor]) -> nn.ModuleList:
            return nn.ModuleList(conv_of(w, None, stride, padding) for w in weights)

        pairs = list(zip(weights_re, weights_im, strict=True))
        self.of_sum = convs([re for re, _ in pairs])
        self.of_im = convs([-(re + im) for re, im in pairs])
        self.of_re = convs([im - re for re, im in pairs])

    def forward(self, *inputs: ComplexPair) -> ComplexPair:
        shared = accumulate(self.of_sum, [re + im for re, im in inputs])
        real = accumulate(self.of_im, [im for _, im in inputs], shared)
        imag = accumulate(self.of_re, [re for re, _ in inputs], shared)
        return real, imag


def accumulate(convs: nn.ModuleList, inputs: list[Tensor], total: Tensor | None = None) -> Tensor:
    """Sum of conv(input) over pairs, onto ``total``; one addition behind each convolution."""
    for conv, x in zip(convs, inputs, strict=True):
        y: Tensor = conv(x)
        total = y if total is None else y + total
    assert total is not None
    return total


class AffineLeakyReLU(nn.Module):
    """Biases of a complex convolution, batch norm and LeakyReLU, as a 1x1 depthwise convolution.

    The two parts are scaled differently, so the scales cannot go into weights that both share;
    and a runtime can fuse the activation into this convolution, though not into a sum. The last
    ``surplus`` rows are left out, by taps of 0.
    """

    def __init__(self, weights: ComplexWeights, surplus: int = 0) -> None:
        super().__init__()

        def affine(scale: Tensor, shift: Tensor) -> nn.Conv2d:
            return depthwise_of(F.pad(scale[:, None, None, None], (0, surplus)), shift)

        self.real = affine(weights.scale_re, weights.shift_re)
        self.imag = affine(weights.scale_im, weights.shift_im)

    def forward(self, x: ComplexPair) -> ComplexPair:
        re, im = x
        return F.leaky_relu(self.real(re), LEAKY_SLOPE), F.leaky_relu(self.imag(im), LEAKY_SLOPE)


def memory_taps(fsmn: Fsmn) -> Tensor:
    """The depthwise filter [C, 1, lorder, 1] of p + D(p): the identity is 1 more at the present."""
    taps = fsmn.conv1.weight.detach().clone()
    taps[:, :, -1] += 1
    return taps


class Memory(nn.Module):
    """p + D(p), p = P relu(L x + b): two 1x1 convolutions and a depthwise one, all causal.

    Its identity is part of the depthwise filter: 1 is added to the tap of the present.
    """

    def __init__(self, fsmn: Fsmn, over_time: bool, sign: int = 1) -> None:
        super().__init__()
        taps = memory_taps(fsmn)
        past = fsmn.lorder - 1
        self.padding = (0, 0, past, 0) if over_time else (past, 0, 0, 0)
        self.linear = conv_of(fsmn.linear.weight[:, :, None, None], fsmn.linear.bias)
        self.project = conv_of(fsmn.project.weight[:, :, None, None])
        self.memory = depthwise_of(sign * (taps if over_time else taps.transpose(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        p = self.project(F.relu(self.linear(x)))
        y: Tensor = self.memory(F.pad(p, self.padding))
        return y


class ComplexFsmn(nn.Module):
    """One complex FSMN layer over frequency, or over time.

    real = re - im + M_re(re) - M_im(im), imag = im + re + M_re(im) + M_im(re). The four products
    stay apart: stacked into one they would be half zeros.
    """

    def __init__(self, fsmn_re: Fsmn, fsmn_im: Fsmn, over_time: bool = False) -> None:
        super().__init__()
        self.re_of_re = Memory(fsmn_re, over_time)
        self.re_of_im = Memory(fsmn_re, over_time)
        self.im_of_re = Memory(fsmn_im, over_time)
        self.minus_im_of_im = Memory(fsmn_im, over_time, sign=-1)
        # A subtraction written as a convolution, which a runtime can keep in its blocked layout.
        self.minus = depthwise_of(-torch.ones_like(fsmn_re.conv1.weight[:, :, :1]))

    def forward(self, x: ComplexPair) -> ComplexPair:
        return self.joined(x, lambda name, part: self.get_submodule(name)(part))

    def joined(self, x: ComplexPair, product: Callable[[str, Tensor], Tensor]) -> ComplexPair:
        """The sums of x and the products that the memories of these names make of its parts."""
        re, im = x
        real = product("re_of_re", re) + (product("minus_im_of_im", im) + (self.minus(im) + re))
        imag = product("re_of_im", im) + (product("im_of_re", re) + (im + re))
        return real, imag


class ComplexSqueezeExcite(nn.Module):
    """Channel gains from the means over time and frequency; the parts are scaled separately."""

    def __init__(self, layer: frcrn_layers.SqueezeExcite) -> None:
        super().__init__()
        self.gains_re = self._gains(layer.fc_r)
        self.gains_im = self._gains(layer.fc_i)
        self.pooling = layer.pooling

    @staticmethod
    def _gains(fc: nn.Sequential) -> nn.Sequential:
        layers: list[nn.Module] = []
        for layer in fc:
            if isinstance(layer, nn.Linear):
                layer = conv_of(layer.weight[:, :, None, None], layer.bias)
            layers.append(layer)
        return nn.Sequential(*layers)

    def forward(self, x: ComplexPair) -> ComplexPair:
        re, im = x
        gain_re, gain_im = self.of_means(pool(re, self.pooling), pool(im, self.pooling))
        return re * gain_re, im * gain_im

    def of_means(self, mean_re: Tensor, mean_im: Tensor) -> ComplexPair:
        """The gains of each part from the means of each part, [B, C, T or 1, 1]."""
        gain_re: Tensor = self.gains_re(mean_re) - self.gains_im(mean_im)
        gain_im: Tensor = self.gains_re(mean_im) + self.gains_im(mean_re)
        return gain_re, gain_im


def pool(x: Tensor, pooling: Pooling) -> Tensor:
    """Means of [B, C, T, F] over frequency and what of time ``pooling`` says: [B, C, T or 1, 1]."""
    if pooling == "global":
        return x.mean((2, 3), keepdim=True)
    return causal_mean(x.mean(3, keepdim=True), None if pooling == "cumulative" else pooling)
