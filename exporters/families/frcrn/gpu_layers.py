"""Layers of FRCRN for GPUs: the two parts of a complex tensor are neighbours in the batch.

A complex tensor is [2B, C, T, F], real and imaginary part in turn. Both of a complex layer's real
layers are applied to both parts, so all four products are one convolution whose output channels
hold both layers: half the kernels to launch of the three-product form, two thirds of its weights,
and no sum or difference of weights whose rounding float16 would show.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network_layers as frcrn_layers
from frcrn_export.exporters.families.frcrn.complex_conv import (
    ComplexWeights,
    complex_weights,
    conv_of,
    depthwise_of,
)
from frcrn_export.exporters.families.frcrn.lowered_unet import FirstEncoder
from frcrn_export.exporters.families.frcrn.network_layers import LEAKY_SLOPE, Fsmn, Pooling
from frcrn_export.exporters.families.frcrn.squeeze_excite import pool


def cross(products: Tensor) -> tuple[Tensor, Tensor]:
    """Sum up what a complex layer's two real layers make of both parts.

    [2B, 2C, T, F], the layers side by side in the channels, to real and imaginary part
    [B, C, T, F]: real = f_re(re) - f_im(im), imag = f_im(re) + f_re(im).
    """
    re_re, im_re, re_im, im_im = parts_to_channels(products).chunk(4, dim=1)
    return re_re - im_im, im_re + re_im


def parts_to_channels(x: Tensor) -> Tensor:
    """[2B, C, T, F] to [B, 2C, T, F]."""
    return _regrouped(x, x.shape[0] // 2, 2 * x.shape[1])


def parts_to_batch(x: Tensor) -> Tensor:
    """[B, 2C, T, F] to [2B, C, T, F]."""
    return _regrouped(x, 2 * x.shape[0], x.shape[1] // 2)


def _regrouped(x: Tensor, items: int, channels: int) -> Tensor:
    frames, rows = x.shape[2:]
    if isinstance(frames, int):  # in a streaming core: nothing but the batch is open
        return x.contiguous().view(-1, channels, frames, rows)
    # Every size in full: of a -1, TensorRT has to prove what it stands for, and where it cannot it
    # writes checks into the engine that take up to an eighth of it.
    return x.reshape(items, channels, frames, rows)


class Affine(nn.Module):
    """What a batch norm leaves to do behind a complex convolution: scale and shift of each part.

    The larger scale of the two goes into the weights, so that what the convolution puts out is of
    the size of what follows; what is left to do here is at most 1.
    """

    def __init__(self, weights: ComplexWeights) -> None:
        super().__init__()
        scale = torch.stack((weights.scale_re, weights.scale_im))  # [2, C]
        common = scale.abs().amax(dim=0)
        self.common = torch.where(common > 0, common, torch.ones_like(common)).detach()
        self.scale = nn.Buffer((scale / self.common).reshape(-1, 1, 1).detach())  # [2C, 1, 1]
        shift = torch.cat((weights.shift_re, weights.shift_im))
        self.shift = nn.Buffer(shift[:, None, None].detach())

    def forward(self, parts: Tensor) -> Tensor:
        """Both parts side by side [B, 2C, T, F] to [2B, C, T, F], with LeakyReLU."""
        return parts_to_batch(F.leaky_relu(parts * self.scale + self.shift, LEAKY_SLOPE))


class PairedFirstEncoder(nn.Module):
    """From the two channels of a spectrum [B, 2, T, F], which hold all that there is."""

    def __init__(self, encoder: frcrn_layers.Encoder) -> None:
        super().__init__()
        parts = FirstEncoder(encoder)
        weight = torch.cat((parts.real.weight, parts.imag.weight))
        assert parts.real.bias is not None
        assert parts.imag.bias is not None
        bias = torch.cat((parts.real.bias, parts.imag.bias))
        self.conv = conv_of(weight, bias, stride=(1, 2), padding=(1, 0))

    def forward(self, spec: Tensor) -> Tensor:
        return parts_to_batch(F.leaky_relu(self.conv(spec), LEAKY_SLOPE))  # [2B, C, T + 1, F']


class PairedEncoder(nn.Module):
    """Halves the frequency axis; the time axis grows by one frame."""

    def __init__(self, encoder: frcrn_layers.Encoder) -> None:
        super().__init__()
        w = complex_weights(encoder.conv.conv_re, encoder.conv.conv_im, encoder.bn)
        self.affine = Affine(w)
        both = torch.cat((_scaled(w.re, self.affine.common), _scaled(w.im, self.affine.common)))
        self.conv = conv_of(both.transpose(2, 3), stride=(1, 2), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.affine(torch.cat(cross(self.conv(x)), dim=1))  # [2B, C, T + 1, F']
        return y


class PairedDecoder(nn.Module):
    """Doubles the frequency axis; the time axis shrinks by one frame.

    A transposed convolution of stride 2 as an ordinary one whose output channels hold the even and
    the odd rows; the shorter of the two filters is filled up with a zero tap.
    """

    def __init__(self, decoder: frcrn_layers.Decoder) -> None:
        super().__init__()
        transconv = decoder.transconv
        w = complex_weights(transconv.tconv_re, transconv.tconv_im, decoder.bn)
        self.affine = Affine(w)
        self.rows_less = w.re.shape[2] % 2  # an odd filter gives one even row more than odd rows
        layers = [_phases(weight, self.affine.common) for weight in (w.re, w.im)]
        both = torch.cat(layers)  # [2 * 2C', C, 2, taps]
        self.conv = conv_of(both, padding=(0, both.shape[3] - 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self._interleave(part) for part in cross(self.conv(x))]
        y: Tensor = self.affine(torch.cat(parts, dim=1))
        return y

    def _interleave(self, rows: Tensor) -> Tensor:
        """[B, 2C', T, F] to [B, C', T, 2F], or one row less."""
        B, channels, T, half = rows.shape
        y = rows.reshape(B, 2, channels // 2, T, half).movedim(1, -1)
        y = y.reshape(B, channels // 2, T, 2 * half)
        return y[..., : y.shape[-1] - self.rows_less]


def _phases(weight: Tensor, common: Tensor) -> Tensor:
    """[C, C', K, 2] of a transposed convolution to [2C', C, 2, taps]: even rows, odd rows."""
    scaled = weight * common[None, :, None, None]
    filled = F.pad(scaled, (0, 0, 0, weight.shape[2] % 2))
    even, odd = filled[:, :, 0::2], filled[:, :, 1::2]
    return torch.cat((even, odd), dim=1).flip(2, 3).permute(1, 0, 3, 2)


def _scaled(weight: Tensor, common: Tensor) -> Tensor:
    return weight * common[:, None, None, None]


class PairedFsmn(nn.Module):
    """One complex FSMN layer over frequency, or over time: both layers side by side in channels.

    p + D(p), p = P relu(L x + b) of each, the identity being part of the depthwise filter D.
    """

    def __init__(self, re: Fsmn, im: Fsmn, over_time: bool = False) -> None:
        super().__init__()
        taps = torch.cat((re.conv1.weight, im.conv1.weight)).detach().clone()  # [2C, 1, lorder, 1]
        taps[:, :, -1] += 1
        past = re.lorder - 1
        self.padding = (0, 0, past, 0) if over_time else (past, 0, 0, 0)
        linear = torch.cat((re.linear.weight, im.linear.weight))[:, :, None, None]
        self.linear = conv_of(linear, torch.cat((re.linear.bias, im.linear.bias)))
        project = torch.cat((re.project.weight, im.project.weight))[:, :, None, None]
        self.project = conv_of(project, groups=2)
        self.memory = depthwise_of(taps if over_time else taps.transpose(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        p = self.project(F.relu(self.linear(x)))  # [2B, 2C, T, F]
        return self.of_memories(self.memory(F.pad(p, self.padding)), x)

    def of_memories(self, memories: Tensor, x: Tensor) -> Tensor:
        """Of what both layers make of the parts [2B, 2C, T, F], to which each adds its input."""
        real, imag = cross(memories + torch.cat((x, x), dim=1))
        return parts_to_batch(torch.cat((real, imag), dim=1))


class Pool(nn.Module):
    """Means of [2B, C, T, F] for squeeze-and-excitation. Adds up more than half can."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling: Pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        return pool(x, self.pooling)


class PairedGains(nn.Module):
    """Channel gains of squeeze-and-excitation: [2B, C, T, F] to [2B, C, T or 1, 1]."""

    def __init__(self, layer: frcrn_layers.SqueezeExcite) -> None:
        super().__init__()
        (down_re, up_re), (down_im, up_im) = (
            [part for part in fc if isinstance(part, nn.Linear)] for fc in (layer.fc_r, layer.fc_i)
        )
        self.pool = Pool(layer.pooling)
        self.down = _side_by_side(down_re, down_im)
        self.up = _side_by_side(up_re, up_im, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        gains = torch.sigmoid(self.up(F.relu(self.down(self.pool(x)))))
        return parts_to_batch(torch.cat(cross(gains), dim=1))


def _side_by_side(re: nn.Linear, im: nn.Linear, groups: int = 1) -> nn.Conv2d:
    weight = torch.cat((re.weight, im.weight))[:, :, None, None]
    return conv_of(weight, torch.cat((re.bias, im.bias)), groups=groups)
