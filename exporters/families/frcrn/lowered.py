"""FRCRN in its deployable form: real-valued, batch norms folded, stateless, fewer products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.fast_filters import FastDecoder, FastEncoder
from frcrn_export.exporters.families.frcrn.layers import (
    AffineLeakyReLU,
    ComplexFsmn,
    ComplexPair,
    ComplexSqueezeExcite,
    ComplexWeights,
    ThreeProductConv,
    accumulate,
    complex_linear,
    complex_weights,
    conv_of,
    decoder_taps,
)
from frcrn_export.exporters.families.frcrn.network import FRCRN, LEAKY_SLOPE

# Encoders and decoders that give as many rows make three at a time. They hold most products; the
# others hold most weights, which that would multiply.
FAST_ROWS = 60


class FirstEncoder(nn.Module):
    """From the two channels of a spectrum [B, 2, T, F]: one convolution for each part."""

    def __init__(self, encoder: frcrn_layers.Encoder) -> None:
        super().__init__()
        w = complex_weights(encoder.conv.conv_re, encoder.conv.conv_im, encoder.bn)
        real = w.scale_re[:, None, None, None] * torch.cat((w.re, -w.im), dim=1)
        imag = w.scale_im[:, None, None, None] * torch.cat((w.im, w.re), dim=1)
        self.real = conv_of(real.transpose(2, 3), w.shift_re, stride=(1, 2), padding=(1, 0))
        self.imag = conv_of(imag.transpose(2, 3), w.shift_im, stride=(1, 2), padding=(1, 0))

    def forward(self, spec: Tensor) -> ComplexPair:
        real, imag = self.real(spec), self.imag(spec)  # [B, C, T + 1, F']
        return F.leaky_relu(real, LEAKY_SLOPE), F.leaky_relu(imag, LEAKY_SLOPE)


class Encoder(nn.Module):
    """Halves the frequency axis; the time axis grows by one frame."""

    def __init__(self, encoder: frcrn_layers.Encoder) -> None:
        super().__init__()
        w = complex_weights(encoder.conv.conv_re, encoder.conv.conv_im, encoder.bn)
        self.conv = ThreeProductConv(
            [w.re.transpose(2, 3)], [w.im.transpose(2, 3)], stride=(1, 2), padding=(1, 0)
        )
        self.affine = AffineLeakyReLU(w)

    def forward(self, x: ComplexPair) -> ComplexPair:
        y: ComplexPair = self.affine(self.conv(x))
        return y


class Decoder(nn.Module):
    """Doubles the frequency axis; the time axis shrinks by one frame.

    A transposed convolution of stride 2 is two ordinary ones, one with the even taps for the even
    output rows and one with the odd taps for the odd rows, and so multiplies no zeros.
    """

    def __init__(self, decoder: frcrn_layers.Decoder, inputs: int) -> None:
        super().__init__()
        transconv = decoder.transconv
        w = complex_weights(transconv.tconv_re, transconv.tconv_im, decoder.bn)
        self.even = self._phase(w, 0, inputs)
        self.odd = self._phase(w, 1, inputs)
        self.affine = AffineLeakyReLU(w)

    @staticmethod
    def _phase(weights: ComplexWeights, phase: int, inputs: int) -> ThreeProductConv:
        re, im = (decoder_taps(weight, phase, inputs) for weight in (weights.re, weights.im))
        return ThreeProductConv(re, im, (1, 1), (0, re[0].shape[3] - 1))

    def forward(self, *inputs: ComplexPair) -> ComplexPair:
        even_re, even_im = self.even(*inputs)
        odd_re, odd_im = self.odd(*inputs)
        y: ComplexPair = self.affine((interleave(even_re, odd_re), interleave(even_im, odd_im)))
        return y


def interleave(even: Tensor, odd: Tensor) -> Tensor:
    """Alternate the last axis of two tensors, equally long or ``even`` longer by one."""
    B, C, T, half = odd.shape
    rows = (B, C, T * half, 1)
    pairs = torch.cat((even[..., :half].reshape(rows), odd.reshape(rows)), dim=3)
    y = pairs.reshape(B, C, T, 2 * half)
    return torch.cat((y, even[..., half:]), dim=3) if even.shape[3] > half else y


class LastDecoder(nn.Module):
    """The last decoder and the complex 1x1 convolution after it, to a spectrum [B, 2, T, F].

    A transposed convolution to one complex channel, taken apart: first every product of an input
    frame and a tap, as 1x1 convolutions; then each is put in its place and summed up there.
    """

    def __init__(self, decoder: frcrn_layers.Decoder, linear: frcrn_layers.ComplexConv2d) -> None:
        super().__init__()
        transconv = decoder.transconv
        w = complex_weights(transconv.tconv_re, transconv.tconv_im, decoder.bn)
        of_re = torch.cat((w.scale_re * w.re, w.scale_im * w.im), dim=1)
        of_im = torch.cat((-w.scale_re * w.im, w.scale_im * w.re), dim=1)
        weight = torch.cat((of_re, of_im)).transpose(2, 3)  # [2 * 2C, 2, 2, K]
        products = weight.flatten(1).T[:, :, None, None]  # [4K, 2 * 2C, 1, 1]
        self.products = nn.ModuleList(conv_of(part) for part in products.chunk(4, dim=1))
        self.place = nn.ConvTranspose2d(
            len(products), 2, (2, weight.shape[3]), (1, 2), (1, 0), dtype=weight.dtype
        )
        one_hot = torch.eye(len(products), dtype=weight.dtype).reshape(-1, *weight.shape[1:])
        self.place.weight = nn.Parameter(one_hot, requires_grad=False)
        shift = torch.cat((w.shift_re, w.shift_im)).detach()
        self.place.bias = nn.Parameter(shift, requires_grad=False)
        self.linear = complex_linear(linear)

    def forward(self, x: ComplexPair, skip: ComplexPair) -> Tensor:
        products = accumulate(self.products, [x[0], skip[0], x[1], skip[1]])  # [B, 4K, T + 1, F']
        y: Tensor = self.linear(F.leaky_relu(self.place(products), LEAKY_SLOPE))
        return y


class LoweredUNet(nn.Module):
    """[B, 2, T, F] to the same shape; the unused layers of the published files are left out.

    ``fast``: the widest encoders and decoders make three rows at a time.
    """

    def __init__(self, unet: frcrn.UNet, fast: bool = True) -> None:
        super().__init__()
        layer: Callable[[str], Any] = unet.get_submodule
        last = unet.depth - 1

        def fsmn(name: str, index: int = 1, over_time: bool = False) -> ComplexFsmn:
            re, im = (layer(f"{name}.fsmn_{part}_L{index}") for part in ("re", "im"))
            return ComplexFsmn(re, im, over_time)

        def encoder(i: int) -> nn.Module:
            rows = unet.rows[i + 1]
            if fast and rows >= FAST_ROWS:
                return FastEncoder(layer(f"encoder{i}"), rows)
            return Encoder(layer(f"encoder{i}"))

        def decoder(i: int) -> nn.Module:
            rows, inputs = unet.rows[last - i], 1 if i == 0 else 2
            if fast and rows >= FAST_ROWS:
                return FastDecoder(layer(f"decoder{i}"), inputs, rows)
            return Decoder(layer(f"decoder{i}"), inputs)

        self.first_encoder = FirstEncoder(layer("encoder0"))
        self.skip_gains = nn.ModuleList(
            ComplexSqueezeExcite(layer(f"se_layer_enc{i}")) for i in range(last)
        )
        self.encoder_fsmns = nn.ModuleList(fsmn(f"fsmn_enc{i + 1}") for i in range(last))
        self.encoders = nn.ModuleList(encoder(i + 1) for i in range(last))
        self.bottleneck = nn.Sequential(*(fsmn("fsmn", i, over_time=True) for i in (1, 2)))
        self.decoders = nn.ModuleList(decoder(i) for i in range(last))
        self.decoder_fsmns = nn.ModuleList(fsmn(f"fsmn_dec{i}") for i in range(last))
        self.decoder_gains = nn.ModuleList(
            ComplexSqueezeExcite(layer(f"se_layer_dec{i}")) for i in range(last - 1)
        )
        self.last_decoder = LastDecoder(layer(f"decoder{last}"), unet.linear)

    def forward(self, spec: Tensor) -> Tensor:
        x: ComplexPair = self.first_encoder(spec)
        skips = []
        layers = zip(self.skip_gains, self.encoder_fsmns, self.encoders, strict=True)
        for gains, fsmn, encoder in layers:
            skips.append(gains(x))
            x = encoder(fsmn(x))

        inputs = [self.bottleneck(x)]
        for i, decoder in enumerate(self.decoders):
            x = self.decoder_fsmns[i](decoder(*inputs))
            if i < len(self.decoder_gains):
                x = self.decoder_gains[i](x)
            inputs = [x, skips.pop()]
        y: Tensor = self.last_decoder(*inputs)
        return y


class LoweredFrcrn(nn.Module):
    """Spectrum [B, 2, F, T] (real, imaginary) to the enhanced spectrum of the same shape."""

    alike = ("unet", "unet2")

    def __init__(self, network: FRCRN, fast: bool = True) -> None:
        super().__init__()
        self.unet = LoweredUNet(network.unet, fast)
        self.unet2 = LoweredUNet(network.unet2, fast)

    def forward(self, spec: Tensor) -> Tensor:
        u1 = self.unet(spec.transpose(2, 3))  # [B, 2, T, F]
        u2 = self.unet2(u1)
        mask = (torch.tanh(u1) + torch.tanh(u2)).transpose(2, 3)
        mask_re, mask_im = mask[:, :1], mask[:, 1:]
        re, im = spec[:, :1], spec[:, 1:]
        return torch.cat((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)


def lower_frcrn(network: FRCRN, fast: bool = True) -> nn.Module:
    """The deployable form of ``network``, in eval mode and of its dtype; the weights are copied.

    ``fast``: with fewer products and more sums, for processors.

    It equals the network in eval mode, for every batch size and every T >= 1.
    """
    with torch.no_grad():
        return LoweredFrcrn(network, fast).eval()
