"""FSMN layers on complex pairs [B, C, T, F], as convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.complex_conv import ComplexPair, conv_of, depthwise_of
from frcrn_export.exporters.families.frcrn.network_layers import Fsmn


class Memory(nn.Module):
    """p + D(p), p = P relu(L x + b): two 1x1 convolutions and a depthwise one, all causal.

    Its identity is part of the depthwise filter: 1 is added to the tap of the present.
    """

    def __init__(self, fsmn: Fsmn, over_time: bool, sign: int = 1) -> None:
        super().__init__()
        taps = fsmn.conv1.weight.detach().clone()  # [C, 1, lorder, 1]
        taps[:, :, -1] += 1
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
        re, im = x
        real = self.re_of_re(re) + (self.minus_im_of_im(im) + (self.minus(im) + re))
        imag = self.re_of_im(im) + (self.im_of_re(re) + (im + re))
        return real, imag
