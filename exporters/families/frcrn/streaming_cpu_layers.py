"""The layers of FRCRN's stream on processors: a complex tensor as two rows.

[N, C, 2, F]: the real part and the imaginary part; N are the frames of all streams. A real filter
takes both parts as it takes two rows, and i times a tensor exchanges its rows. So a complex layer
is a few convolutions, between which ONNX Runtime keeps its blocked layout: a slice or a sum of
channels would leave it, and cost as much as a small convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn.gpu import PairedGains
from frcrn_export.exporters.families.frcrn.layers import (
    ComplexWeights,
    complex_linear,
    complex_weights,
    conv_of,
    decoder_taps,
    depthwise_of,
    memory_taps,
)
from frcrn_export.exporters.families.frcrn.network import LEAKY_SLOPE, Fsmn
from frcrn_export.exporters.families.frcrn.streaming_layers import Stage, running_means, twice
from frcrn_export.exporters.streaming_core import States

# Rows from which three products are faster than four: these take fewer weights, and a layer of
# few rows waits for weights.
THREE_PRODUCTS_FROM = 30

# Added to both parts, and a row of its own, from which their shifts are made. Small, so that the
# sums lose no digits.
CONSTANT = 2.0**-10


class FourProducts(nn.Module):
    """(re + i im) * x of filters [C', C, 1, taps], and a constant: [N, C', 3, F'].

    The rows are real, imaginary, constant: that of padding alone is the bias alone. The others
    have it, too.
    """

    real_row = 0

    def __init__(self, re: Tensor, im: Tensor, stride: int, before: int) -> None:
        super().__init__()
        self.before = before
        self.re = conv_of(re, _constant(re), (1, stride))
        self.im = conv_of(im, None, (1, stride))
        # A stride of 2 gives every row its own taps: (-imaginary, real, nothing).
        self.times_i = depthwise_of(_taps(len(im), (1, 0, 0, -1), im), stride=(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        turned = self.times_i(F.pad(self.im(F.pad(x, (self.before, 0))), (0, 0, 2, 4)))
        y: Tensor = self.re(F.pad(x, (self.before, 0, 0, 1))) + turned
        return y


class ThreeProducts(nn.Module):
    """The same after Gauss; the rows are imaginary, real, constant.

    shared = re * (x_re + x_im)
    real = shared - (re + im) * x_im
    imag = shared + (im - re) * x_re
    """

    real_row = 1

    def __init__(self, re: Tensor, im: Tensor, stride: int, before: int) -> None:
        super().__init__()
        self.before = before
        self.sum = depthwise_of(_taps(re.shape[1], (1, 1), re))
        self.shared = conv_of(re, None, (1, stride))
        self.twice = depthwise_of(_taps(len(re), (1, 1), re))
        # A stride of 2 gives each part its own taps: the real one's reach row 1, the other's row 0.
        self.own = conv_of(torch.cat((-(re + im), im - re), dim=2), _constant(re), (2, stride))

    def forward(self, x: Tensor) -> Tensor:
        shared = self.shared(F.pad(self.sum(x), (self.before, 0)))
        both = self.twice(F.pad(shared, (0, 0, 1, 2)))
        y: Tensor = self.own(F.pad(x, (self.before, 0, 1, 3))) + both
        return y


class PartsConv(nn.Module):
    """A complex convolution with its batch norm and LeakyReLU: [N, C, 2, F] to [N, C', 2, F'].

    Filters [C', C, 1, taps] for an input of `rows` rows, with `before` zeros before the first.
    """

    def __init__(
        self,
        weights: ComplexWeights,
        re: Tensor,
        im: Tensor,
        rows: int,
        stride: int = 1,
        before: int = 0,
    ) -> None:
        super().__init__()
        products = ThreeProducts if rows >= THREE_PRODUCTS_FROM else FourProducts
        self.products = products(re, im, stride, before)
        # A stride of 3 gives each part its own taps of the three rows.
        taps = re.new_zeros(len(re), 1, 6, 1)
        for own, row, scale, shift in (
            (3, products.real_row, weights.scale_re, weights.shift_re),
            (0, 1 - products.real_row, weights.scale_im, weights.shift_im),
        ):
            taps[:, 0, own + row, 0] = scale
            taps[:, 0, own + 2, 0] = shift / CONSTANT - scale
        self.affine = depthwise_of(taps, stride=(3, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.affine(F.pad(self.products(x), (0, 0, 3, 3)))
        return F.leaky_relu(y, LEAKY_SLOPE)


def _constant(weight: Tensor) -> Tensor:
    return torch.full((len(weight),), CONSTANT, dtype=weight.dtype)


def _taps(channels: int, taps: Sequence[int], like: Tensor) -> Tensor:
    """The same taps over the parts for every channel."""
    return like.new_tensor(taps)[None, None, :, None].repeat(channels, 1, 1, 1)


def side_by_side(weight: Tensor) -> Tensor:
    """[C', C, T, taps] to [C', T C, 1, taps], for frames side by side in the channels."""
    return torch.cat(weight.chunk(weight.shape[2], 2), dim=1)


def parts_encoder(encoder: frcrn.Encoder, rows: int) -> PartsConv:
    """Halves `rows` rows, of the frame before and the frame."""
    w = complex_weights(encoder.conv.conv_re, encoder.conv.conv_im, encoder.bn)
    re, im = (side_by_side(part.transpose(2, 3)) for part in (w.re, w.im))
    return PartsConv(w, re, im, rows, stride=2)


class PartsDecoder(nn.Module):
    """Doubles `rows` rows, of the frame and the next one if it `waits`, else of the frame alone.

    The even and the odd rows of the output have a filter each. The input has zeros `beside` its
    rows, before and after.
    """

    def __init__(self, decoder: frcrn.Decoder, waits: bool, rows: int) -> None:
        super().__init__()
        transconv = decoder.transconv
        w = complex_weights(transconv.tconv_re, transconv.tconv_im, decoder.bn)
        taps = w.re.shape[2]
        self.beside = (taps // 2 - 1, (taps - 1) // 2)
        self.rows_less = taps % 2  # an odd filter gives one even row more than odd rows

        def phase(first: int, before: int) -> PartsConv:
            re, im = (_phase(weight, first, waits) for weight in (w.re, w.im))
            return PartsConv(w, re, im, rows, before=before)

        self.even = phase(0, self.beside[1] - self.beside[0])
        self.odd = phase(1, 0)

    def forward(self, x: Tensor) -> Tensor:
        phases = torch.cat((self.even(x), self.odd(x)), dim=1)  # [N, 2C', 2, F']
        channels, half = phases.shape[1] // 2, phases.shape[3]
        rows = phases.view(-1, 2, channels * 2 * half).transpose(1, 2)
        y = rows.reshape(-1, channels, 2, 2 * half)
        return y[..., : 2 * half - self.rows_less] if self.rows_less else y


def _phase(weight: Tensor, first: int, waits: bool) -> Tensor:
    """Every second row of a transposed convolution [n C, C', K, 2]: [C', n T C, 1, taps].

    Each of its n inputs has its frames side by side.
    """
    inputs = decoder_taps(weight, first, len(weight) // weight.shape[1])
    return torch.cat([side_by_side(taps[:, :, : 2 if waits else 1]) for taps in inputs], dim=1)


class PartsLastDecoder(nn.Module):
    """The last decoder and the complex 1x1 convolution after it, as LastDecoder.

    From products [N, T K, 1, F'] of the frame and the next one if it `waits`, to [N, 2, 1, F].
    """

    def __init__(self, decoder: frcrn.Decoder, linear: frcrn.ComplexConv2d, waits: bool) -> None:
        super().__init__()
        transconv = decoder.transconv
        w = complex_weights(transconv.tconv_re, transconv.tconv_im, decoder.bn)
        of_re = torch.stack((w.scale_re * w.re, w.scale_im * w.im), dim=1)
        of_im = torch.stack((-w.scale_re * w.im, w.scale_im * w.re), dim=1)
        weight = torch.stack((of_re, of_im), dim=1)[:, :, :, 0]  # [2C, parts, parts', K, 2]
        # What the frame itself gives, then what it gives as the next one.
        weight = weight.flip(4) if waits else weight[..., 1:]
        _, _, parts, taps, frames = weight.shape
        self.products = conv_of(weight.permute(4, 2, 3, 0, 1).flatten(0, 2)[..., None])
        one_hot = torch.eye(parts * taps, dtype=weight.dtype).view(1, parts * taps, parts, 1, taps)
        own = torch.eye(
            frames, dtype=weight.dtype
        )  # of the frames that are seen, and what each gives
        placed = own[:, :, None, None, None, None] * one_hot
        self.place = nn.ConvTranspose2d(
            len(placed) * frames * parts * taps, 2, (1, taps), (1, 2), dtype=weight.dtype
        )
        self.place.weight = nn.Parameter(placed.flatten(0, 2), requires_grad=False)
        shift = torch.cat((w.shift_re, w.shift_im)).detach()
        self.place.bias = nn.Parameter(shift, requires_grad=False)
        self.linear = complex_linear(linear)

    def forward(self, products: Tensor) -> Tensor:
        y: Tensor = self.linear(F.leaky_relu(self.place(products), LEAKY_SLOPE))
        return y


class PartsFsmn(nn.Module):
    """A complex FSMN layer over the last axis: (1 + i) x + M_re x + i M_im x.

    M x = p + D(p), p = P relu(L x + b); its identity is part of the depthwise filter D.
    """

    def __init__(self, re: Fsmn, im: Fsmn) -> None:
        super().__init__()
        self.past = re.lorder - 1
        self.linears = nn.ModuleList(
            conv_of(f.linear.weight[:, :, None, None], f.linear.bias) for f in (re, im)
        )
        self.projects = nn.ModuleList(conv_of(f.project.weight[:, :, None, None]) for f in (re, im))
        of_re, of_im = (memory_taps(f).transpose(2, 3) for f in (re, im))
        self.memory = depthwise_of(of_re)
        # i times a filter: out of the imaginary part, negative, and into it.
        self.turned = depthwise_of(torch.cat((of_im, -of_im), dim=2), dilation=(2, 1))
        self.residual = depthwise_of(_taps(len(of_re), (1, 1, -1), of_re))
        self.residual.padding = (1, 0)

    def forward(self, x: Tensor) -> Tensor:
        re, im = (F.pad(p, (self.past, 0)) for p in self.projected(x))
        return self.of_projected(re, im, x)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p of both layers, [N, C, 2, F]."""
        re, im = (
            project(F.relu(linear(x)))
            for linear, project in zip(self.linears, self.projects, strict=True)
        )
        return re, im

    def of_projected(self, re: Tensor, im: Tensor, x: Tensor) -> Tensor:
        """The output from p of both layers with the values before it, and the input."""
        y: Tensor = self.memory(re) + (self.turned(F.pad(im, (0, 0, 1, 1))) + self.residual(x))
        return y


class PartsGains(nn.Module):
    """The channel gains of n layers at once, for frames [N, C, 2, F]: n gains [N, C, 2, 1].

    Their means are rows [B, n, P, 2C], both parts of a channel side by side, and the layers are
    products of matrices: too small to be worth a convolution.
    """

    def __init__(self, layers: list[PairedGains]) -> None:
        super().__init__()
        pooling = layers[0].pool.pooling
        assert pooling != "global", "a mean over the whole utterance cannot stream"
        self.window = None if pooling == "cumulative" else pooling
        self.down = nn.Buffer(torch.stack([_down(layer.down.weight) for layer in layers]))
        self.down_bias = nn.Buffer(torch.stack([twice(layer.down) for layer in layers]))
        self.up_re, self.up_re_bias, self.up_im, self.up_im_bias = (
            nn.Buffer(torch.stack(of_layers))
            for of_layers in zip(*(_ups(layer.up) for layer in layers), strict=True)
        )
        # real = f_re(re) - f_im(im), and -sigmoid(z) = sigmoid(-z) - 1
        channels = self.up_re.shape[2] // 2
        self.offset = nn.Buffer(self.up_re.new_tensor([-1.0, 0.0]).repeat(channels))

    def forward(self, xs: list[Tensor], stage: Stage, states: States, name: str) -> list[Tensor]:
        frames = stage.count.shape[2]
        channels = xs[0].shape[1]
        means = [x.mean(3).view(-1, 1, frames, 2 * channels) for x in xs]
        rows = torch.cat(means, dim=1) if len(means) > 1 else means[0]
        rows = running_means(rows, stage, self.window, states, name)
        if len(xs) == 1:
            rows = rows.view(-1, 2 * channels)
            hidden = F.relu(torch.addmm(self.down_bias[0], rows, self.down[0]))
            of_re = torch.sigmoid(torch.addmm(self.up_re_bias[0], hidden, self.up_re[0]))
            of_im = torch.sigmoid(torch.addmm(self.up_im_bias[0], hidden, self.up_im[0]))
            return [((of_re + self.offset) + of_im).view(-1, channels, 2, 1)]
        hidden = F.relu(rows @ self.down + self.down_bias[:, None])
        of_re = torch.sigmoid(hidden @ self.up_re + self.up_re_bias[:, None])
        of_im = torch.sigmoid(hidden @ self.up_im + self.up_im_bias[:, None])
        gains = (of_re + self.offset) + of_im  # [B, n, P, 2C]
        return [part.reshape(-1, channels, 2, 1) for part in gains.chunk(len(xs), 1)]


def _down(weight: Tensor) -> Tensor:
    """[2R, C, 1, 1] of f_re and f_im to [2C, 4R]: f_re(re), f_re(im), f_im(re), f_im(im)."""
    re, im = weight[:, :, 0, 0].chunk(2)
    of_part = [_of_part(layer.T, part) for layer in (re, im) for part in (0, 1)]
    return torch.cat(of_part, dim=1).detach()


def _of_part(matrix: Tensor, part: int) -> Tensor:
    """[C, R], applied to one part of rows in which both parts of a channel are side by side."""
    filled = torch.zeros(len(matrix), 2, matrix.shape[1], dtype=matrix.dtype)
    filled[:, part] = matrix
    return filled.flatten(0, 1)


def _ups(conv: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[2C, R, 1, 1]: weights [4R, 2C] and biases [2C] of what f_re gives for each part, and of what
    f_im does: for the real part the negative of f_im(im) before its sigmoid."""
    assert conv.bias is not None
    weight_re, weight_im = conv.weight[:, :, 0, 0].chunk(2)  # [C, R]
    bias_re, bias_im = conv.bias.chunk(2)
    channels, hidden = weight_re.shape
    re = torch.zeros(4, hidden, channels, 2, dtype=weight_re.dtype)
    im = torch.zeros_like(re)
    re[0, :, :, 0] = weight_re.T
    re[1, :, :, 1] = weight_re.T
    im[3, :, :, 0] = -weight_im.T
    im[2, :, :, 1] = weight_im.T
    return (
        re.reshape(4 * hidden, -1),
        torch.stack((bias_re, bias_re), dim=1).flatten().detach(),
        im.reshape(4 * hidden, -1),
        torch.stack((-bias_im, bias_im), dim=1).flatten().detach(),
    )
