"""FRCRN for GPUs: few large convolutions; see paired_layers.py for the layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.layers import (
    ComplexWeights,
    complex_linear,
    complex_weights,
    conv_of,
    depthwise_of,
    memory_taps,
    pool,
)
from frcrn_export.exporters.families.frcrn.lowered import FirstEncoder
from frcrn_export.exporters.families.frcrn.network import FRCRN, LEAKY_SLOPE, Fsmn, Pooling


def cross(products: Tensor) -> tuple[Tensor, Tensor]:
    """Combine the outputs of a complex layer's two real layers for both parts.

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
    if isinstance(frames, int):  # in a streaming core only the batch is dynamic
        return x.contiguous().view(-1, channels, frames, rows)
    # Every size explicit: where TensorRT cannot derive the value of a -1, it writes checks into the
    # engine, up to an eighth of its size.
    return x.reshape(items, channels, frames, rows)


class Affine(nn.Module):
    """The rest of a batch norm after a complex convolution: scale and shift of each part.

    The larger scale of the two is folded into the weights, so that the convolution's output has the
    final magnitude; the remaining scale is at most 1.
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
    """The first encoder, of the two channels of a spectrum [B, 2, T, F]."""

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

    A transposed convolution of stride 2 as a convolution whose output channels hold the even and
    the odd rows; the shorter of the two filters is padded with a zero tap.
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
        taps = torch.cat((memory_taps(re), memory_taps(im)))  # [2C, 1, lorder, 1]
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
        """The output from the memories' outputs for both parts [2B, 2C, T, F], plus the input."""
        real, imag = cross(memories + torch.cat((x, x), dim=1))
        return parts_to_batch(torch.cat((real, imag), dim=1))


class Pool(nn.Module):
    """Means of [2B, C, T, F] for squeeze-and-excitation. The sums overflow float16."""

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


class Mask(nn.Module):
    """The sum of both masks, times the spectrum: three [B, 2, F, T] to one."""

    def forward(self, spec: Tensor, u1: Tensor, u2: Tensor) -> Tensor:
        mask = torch.tanh(u1) + torch.tanh(u2)
        mask_re, mask_im = mask[:, :1], mask[:, 1:]
        re, im = spec[:, :1], spec[:, 1:]
        return torch.cat((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)


class PairedUNet(nn.Module):
    """[B, 2, T, F] to the same shape."""

    def __init__(self, unet: frcrn.UNet) -> None:
        super().__init__()
        layer: Callable[[str], Any] = unet.get_submodule
        last = unet.depth - 1

        def fsmn(name: str, index: int = 1, over_time: bool = False) -> PairedFsmn:
            re, im = (layer(f"{name}.fsmn_{part}_L{index}") for part in ("re", "im"))
            return PairedFsmn(re, im, over_time)

        self.first_encoder = PairedFirstEncoder(layer("encoder0"))
        self.skip_gains = nn.ModuleList(PairedGains(layer(f"se_layer_enc{i}")) for i in range(last))
        self.encoder_fsmns = nn.ModuleList(fsmn(f"fsmn_enc{i + 1}") for i in range(last))
        self.encoders = nn.ModuleList(PairedEncoder(layer(f"encoder{i + 1}")) for i in range(last))
        self.bottleneck = nn.Sequential(*(fsmn("fsmn", i, over_time=True) for i in (1, 2)))
        self.decoders = nn.ModuleList(PairedDecoder(layer(f"decoder{i}")) for i in range(last + 1))
        self.decoder_fsmns = nn.ModuleList(fsmn(f"fsmn_dec{i}") for i in range(last))
        self.decoder_gains = nn.ModuleList(
            PairedGains(layer(f"se_layer_dec{i}")) for i in range(last - 1)
        )
        self.linear = complex_linear(unet.linear)

    def forward(self, spec: Tensor) -> Tensor:
        x = self.first_encoder(spec)  # [2B, C, T + 1, F']
        skips = []
        layers = zip(self.skip_gains, self.encoder_fsmns, self.encoders, strict=True)
        for gains, fsmn, encoder in layers:
            skips.append(x * gains(x))
            x = encoder(fsmn(x))
        x = self.bottleneck(x)
        for i, fsmn in enumerate(self.decoder_fsmns):
            x = fsmn(self.decoders[i](x))
            if i < len(self.decoder_gains):
                x = x * self.decoder_gains[i](x)
            x = torch.cat((x, skips.pop()), dim=1)
        y: Tensor = self.linear(parts_to_channels(self.decoders[-1](x)))
        return y


class MaskingFrcrn(nn.Module):
    """Spectrum [B, 2, F, T] (real, imaginary) to the enhanced spectrum of the same shape.

    With two U-Nets [B, 2, T, F] to the same shape, of any form.
    """

    alike = ("unet", "unet2")

    def __init__(self, unet: nn.Module, unet2: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.unet2 = unet2
        self.mask = Mask()

    def forward(self, spec: Tensor) -> Tensor:
        u1 = self.unet(spec.transpose(2, 3))  # [B, 2, T, F]
        u2 = self.unet2(u1)
        y: Tensor = self.mask(spec, u1.transpose(2, 3), u2.transpose(2, 3))
        return y


def pair_frcrn(network: FRCRN) -> MaskingFrcrn:
    """The form of ``network`` for GPUs, in eval mode and of its dtype; the weights are copied."""
    with torch.no_grad():
        return MaskingFrcrn(PairedUNet(network.unet), PairedUNet(network.unet2)).eval()
