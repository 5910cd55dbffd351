"""Decoders of FRCRN in streams: the future frame may be left out, and no tap is multiplied by 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.complex_conv import conv_of
from frcrn_export.exporters.families.frcrn.gpu_layers import PairedDecoder, cross


class StreamingDecoder(nn.Module):
    """Doubles the frequency axis of frames that come with the one after them, if it `waits`.

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
        # The first tap of the shorter filter is the zero that it was filled up with.
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
