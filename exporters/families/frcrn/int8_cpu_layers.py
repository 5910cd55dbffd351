"""Layers of FRCRN for INT8 on processors: every position of a spectrum is a row of a matrix.

A complex tensor is [B, T, F, 2C], the channels of the real part before those of the imaginary
part. A convolution is one product of the rows in its receptive field with a matrix of all its taps,
which suits 8-bit matrix products of any shape. That matrix includes both real layers of a complex
convolution and the batch norm. Between convolutions there are only sums, activations and copies,
which run on bytes too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.gpu import (
    Affine,
    PairedDecoder,
    PairedEncoder,
    PairedFirstEncoder,
    PairedFsmn,
    PairedGains,
)
from frcrn_export.exporters.families.frcrn.layers import conv_of
from frcrn_export.exporters.families.frcrn.lowered import LastDecoder
from frcrn_export.exporters.families.frcrn.network import LEAKY_SLOPE
from frcrn_export.exporters.families.frcrn.streaming_layers import (
    of_both_parts,
    of_each,
    twice,
)


class RowConv(nn.Module):
    """A convolution on [B, T, F, K], with a weight [N, K, t, taps], to [B, T - t + 1, F', N].

    `around` are frames and rows of zeros at both ends. With `relu`, it is part of it.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int = 1,
        around: tuple[int, int] = (0, 0),
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.conv = conv_of(weight, bias, (1, stride), around)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x.permute(0, 3, 1, 2))
        return (F.relu(y) if self.relu else y).permute(0, 2, 3, 1)


def first_encoder(layer: PairedFirstEncoder, frames_around: int) -> RowConv:
    """[B, T + 1, F, 2] to [B, T, F', 2C], without its activation."""
    return RowConv(layer.conv.weight, layer.conv.bias, 2, (frames_around, 0))


def encoder(layer: nn.Module, frames_around: int) -> RowConv:
    """[B, T + 1, F, 2C] to [B, T, F', 2C], without its activation."""
    assert isinstance(layer, PairedEncoder)
    re, im = layer.conv.weight.chunk(2)
    weight = complex_matrix(re, im, sources=1)
    return RowConv(
        _scaled(weight, layer.affine), layer.affine.shift.flatten(), 2, (frames_around, 0)
    )


class RowDecoder(nn.Module):
    """[B, T + 1, F, K] to [B, T, 2F + taps - 1, 2C], or one row less, with LeakyReLU.

    Without `waits` the future frame is taken for zeros, and T frames give T. K is 2C for each of
    the `sources` that are side by side. Even and odd rows have a convolution each: of an odd number
    of taps one of them has fewer.
    """

    def __init__(self, layer: nn.Module, sources: int, waits: bool = True) -> None:
        super().__init__()
        assert isinstance(layer, PairedDecoder)
        weight = layer.conv.weight[:, :, : 2 if waits else 1]
        even_re, odd_re, even_im, odd_im = weight.chunk(4)
        self.rows_less = layer.rows_less
        phases = []
        for re, im, missing in ((even_re, even_im, 0), (odd_re, odd_im, self.rows_less)):
            matrix = _scaled(complex_matrix(re, im, sources), layer.affine)[..., missing:]
            around = (0, matrix.shape[3] - 1)
            phases.append(RowConv(matrix, layer.affine.shift.flatten(), around=around))
        self.even, self.odd = phases

    def forward(self, x: Tensor) -> Tensor:
        even, odd = self.even(x), self.odd(x)  # [B, T, F', 2C], and as many or one less
        if self.rows_less:
            odd = F.pad(odd, (0, 0, 0, 1))
        y = torch.cat((even, odd), dim=3)
        half, both = y.shape[2:]
        y = rows_of(y, 2 * half, both // 2)  # even and odd rows in turn
        return F.leaky_relu(y[:, :, : 2 * half - self.rows_less], LEAKY_SLOPE)


class RowLastDecoder(nn.Module):
    """The last decoder and the complex 1x1 convolution after it, to a spectrum [B, 2, T, F'].

    It takes T + 1 frames of products [B, T + 1, F, 4K], which `products` makes of [B, T, F, 4C].
    Without `waits` what the future frame adds is left out.
    """

    def __init__(self, unet: frcrn.UNet, waits: bool = True) -> None:
        super().__init__()
        decoder = unet.get_submodule(f"decoder{unet.depth - 1}")
        assert isinstance(decoder, frcrn_layers.Decoder)
        last = LastDecoder(decoder, unet.linear)
        re, skip_re, im, skip_im = (conv.get_parameter("weight") for conv in last.products)
        weight = torch.cat((re, im, skip_re, skip_im), dim=1)[:, :, 0, 0]  # [4K, 4C]
        self.matrix = nn.Buffer(weight.T.detach().contiguous())
        self.place, self.linear = last.place, last.linear
        if not waits:
            self.place.weight[:, :, 0] = 0

    def products(self, x: Tensor) -> Tensor:
        """[B, T, F, 4C] to [B, T, F, 4K]."""
        y: Tensor = x @ self.matrix
        return y

    def forward(self, products: Tensor) -> Tensor:
        placed = self.place(products.permute(0, 3, 1, 2))
        y: Tensor = self.linear(F.leaky_relu(placed, LEAKY_SLOPE))
        return y


class RowFsmn(nn.Module):
    """A complex FSMN layer over frequency, or over time: [B, T, F, 2C] to the same shape.

    real = M_re(re) - M_im(im) + (re - im), imag = M_re(im) + M_im(re) + (im + re). M_re takes the
    parts as rows, M_im takes them exchanged. What they remember lies in turn along the axis of the
    memory, so that one depthwise convolution of stride 2 is both memories and their sum; the minus
    sign is part of its weight.
    """

    def __init__(self, layer: nn.Module, over_time: bool = False) -> None:
        super().__init__()
        assert isinstance(layer, PairedFsmn)
        linears = zip(layer.linear.weight.chunk(2), _bias(layer.linear).chunk(2), strict=True)
        self.linears = nn.ModuleList(RowConv(w, b, relu=True) for w, b in linears)  # C to H
        self.projects = nn.ModuleList(map(RowConv, layer.project.weight.chunk(2)))  # H to C
        self.past = max(layer.memory.kernel_size) - 1
        self.over_time = over_time
        re, im = layer.memory.weight.chunk(2)  # [C, 1, 1, past + 1], or over time
        axis = 2 if over_time else 3
        both = torch.stack((torch.cat((re, re)), torch.cat((-im, im))), axis + 1)
        taps = both.flatten(axis, axis + 1)  # [2C, 1, 1, 2 * (past + 1)]
        stride = (2, 1) if over_time else (1, 2)
        self.memory = conv_of(taps, stride=stride, groups=len(taps))

    def products(self, x: Tensor) -> Tensor:
        """P relu(L x + b) of both real layers, of the parts that each takes: [B, T, 2F, 2C].

        In turn at each row; over time those of M_re at all rows come before those of M_im.
        """
        rows, channels = x.shape[2:]
        re, im = x.chunk(2, dim=3)
        found = []
        for i, parts in enumerate((x, torch.cat((im, re), dim=3))):
            p = self.projects[i](self.linears[i](rows_of(parts, 2 * rows, channels // 2)))
            found.append(rows_of(p, rows, channels))
        if self.over_time:
            return torch.cat(found, dim=2)
        return rows_of(torch.cat(found, dim=3), 2 * rows, channels)

    def of_products(self, products: Tensor, x: Tensor) -> Tensor:
        """The layer's output from its products, which over time start `past` frames earlier."""
        re, im = x.chunk(2, dim=3)
        return self._remembered(products) + torch.cat((re - im, im + re), dim=3)

    def _remembered(self, products: Tensor) -> Tensor:
        """[B, T, F, 2C]."""
        rows, channels = products.shape[2:]
        if self.over_time:
            products = rows_of(products, rows // 2, channels, of_each=2)  # [B, 2T, F, 2C]
        p = products.permute(0, 3, 1, 2)
        if not self.over_time:
            p = F.pad(p, (2 * self.past, 0))
        y: Tensor = self.memory(p)
        return y.permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        products = self.products(x)
        if self.over_time:
            products = F.pad(products, (0, 0, 0, 0, self.past, 0))
        return self.of_products(products, x)


class RowGains(nn.Module):
    """Gains of squeeze-and-excitation from means [..., 2C] of both parts, to [..., 2C]."""

    def __init__(self, layer: PairedGains) -> None:
        super().__init__()
        self.down = nn.Buffer(of_both_parts(layer.down))
        self.down_bias = nn.Buffer(twice(layer.down))
        self.up = nn.Buffer(of_each(layer.up))
        self.up_bias = nn.Buffer(twice(layer.up))

    def forward(self, means: Tensor) -> Tensor:
        hidden = F.relu(means @ self.down + self.down_bias)
        products = torch.sigmoid(hidden @ self.up + self.up_bias)  # [..., 4C]
        re_re, re_im, im_re, im_im = products.chunk(4, dim=-1)
        return torch.cat((re_re - im_im, re_im + im_re), dim=-1)


def rows_of(x: Tensor, rows: int, channels: int, of_each: int = 1) -> Tensor:
    """[B, T, F, K] cut into other rows, in the same order: [B, T, rows, channels].

    `of_each`: so many frames are made of each.
    """
    batch, frames = x.shape[:2]
    if isinstance(frames, int):  # in a streaming core: no shape is left to compute there
        return x.contiguous().view(-1, of_each * frames, rows, channels)
    return x.reshape(batch, of_each * frames, rows, channels)


def complex_matrix(re: Tensor, im: Tensor, sources: int) -> Tensor:
    """Both real layers [C', S * C, t, taps] of S sources as the complex one [2C', S * 2C, t, taps].

    Of each source come the channels of the real part, then those of the imaginary part.
    """
    outputs, channels, *taps = re.shape
    re, im = (w.reshape(outputs, sources, channels // sources, *taps) for w in (re, im))
    real = torch.stack((re, -im), dim=2)  # [C', S, 2, C, t, taps]
    imag = torch.stack((im, re), dim=2)
    return torch.cat((real, imag)).flatten(1, 3)


def _scaled(weight: Tensor, affine: Affine) -> Tensor:
    return weight * affine.scale.reshape(-1, 1, 1, 1)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
