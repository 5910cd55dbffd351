"""Encoders and decoders that make three rows at a time, with fewer products.

Three neighbouring outputs y of a filter g of three taps, from five inputs d, take five products in
place of nine (Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, 2016; here
Toom-Cook's points 0, 1, -1, 2 and infinity):

    y = ROWS @ ((WEIGHTS @ g) * (FACTORS @ d))

A filter of two taps is one of three whose first is 0: no product at the point 0, so four in place
of six. Here d and y are rows, and a product is a complex convolution over channels and time.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.layers import (
    AffineLeakyReLU,
    ComplexPair,
    ThreeProductConv,
    complex_weights,
    decoder_taps,
    depthwise_of,
)

TILE = 3  # rows at a time
TAPS = 3
FACTORS = (
    (2, -1, -2, 1, 0),
    (0, -2, -1, 1, 0),
    (0, 2, -3, 1, 0),
    (0, -1, 0, 1, 0),
    (0, 2, -1, -2, 1),
)
WEIGHTS = (
    (1 / 2, 0, 0),
    (-1 / 2, -1 / 2, -1 / 2),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 6, 1 / 3, 2 / 3),
    (0, 0, 1),
)
ROWS = ((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 1))

Factors = list[ComplexPair]  # one for each product: [B, C, T, tiles]

T = TypeVar("T")


class FastEncoder(nn.Module):
    """An Encoder of five taps that gives ``rows`` rows: three taps for even inputs, two for odd."""

    def __init__(self, encoder: frcrn_layers.Encoder, rows: int) -> None:
        super().__init__()
        w = complex_weights(encoder.conv.conv_re, encoder.conv.conv_im, encoder.bn)
        re, im = w.re.transpose(2, 3), w.im.transpose(2, 3)
        tiles = -(-rows // TILE)
        self.even = RowTiles(re, tiles, every=2, before=0)
        self.odd = RowTiles(re, tiles, every=2, before=1)
        self.conv = FastConv([re[..., ::2], re[..., 1::2]], [im[..., ::2], im[..., 1::2]], (1, 0))
        self.affine = AffineLeakyReLU(w, surplus=TILE * tiles - rows)

    def forward(self, x: ComplexPair) -> ComplexPair:
        y: ComplexPair = self.affine(interleaved(self.conv(self.even(x), self.odd(x))))
        return y


class FastDecoder(nn.Module):
    """A Decoder of five or six taps that gives ``rows`` rows: even and odd ones of the same tiles.

    Both filters end at the same input row, the even one with three taps, the odd one with two or
    three.
    """

    def __init__(self, decoder: frcrn_layers.Decoder, inputs: int, rows: int) -> None:
        super().__init__()
        transconv = decoder.transconv
        w = complex_weights(transconv.tconv_re, transconv.tconv_im, decoder.bn)
        tiles = -(-rows // (2 * TILE))
        even, odd = (
            (decoder_taps(w.re, phase, inputs), decoder_taps(w.im, phase, inputs))
            for phase in (0, 1)
        )
        self.tiles = RowTiles(even[0][0], tiles, every=1, before=TAPS - 1)
        self.even, self.odd = FastConv(*even, (0, 0)), FastConv(*odd, (0, 0))
        self.affine = AffineLeakyReLU(w, surplus=2 * TILE * tiles - rows)

    def forward(self, *inputs: ComplexPair) -> ComplexPair:
        factors = [self.tiles(x) for x in inputs]
        pairs = zip(self.even(*factors), self.odd(*factors), strict=True)
        y: ComplexPair = self.affine(interleaved([rows for pair in pairs for rows in pair]))
        return y


class RowTiles(nn.Module):
    """The factors of [B, C, T, F], from the rows ``(TILE * tile + k) * every - before``.

    Written as depthwise convolutions, which a runtime can keep in its blocked layout; ``weight``
    [C', C, ...] is that of the layer. Rows outside are 0.
    """

    def __init__(self, weight: Tensor, tiles: int, every: int, before: int) -> None:
        super().__init__()
        self.before = before
        self.end = every * (TILE * (tiles - 1) + len(FACTORS[0]) - 1) + 1 - before
        kernels = (weight.new_tensor(row).expand(weight.shape[1], 1, 1, -1) for row in FACTORS)
        self.convs = nn.ModuleList(
            depthwise_of(kernel, stride=(1, TILE * every), dilation=(1, every))
            for kernel in kernels
        )

    def forward(self, x: ComplexPair) -> Factors:
        after = max(0, self.end - x[0].shape[3])
        re, im = (F.pad(part, (self.before, after)) for part in x)
        return [(conv(re), conv(im)) for conv in self.convs]


class FastConv(nn.Module):
    """A ThreeProductConv over several inputs, of two or three taps along frequency each.

    Weights are [C', C, T, taps].
    """

    def __init__(
        self, weights_re: list[Tensor], weights_im: list[Tensor], padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.taps = [weight.shape[3] for weight in weights_re]

        def combined(weights: list[Tensor], point: int) -> list[Tensor]:
            return [_combined(w, WEIGHTS[point]) for w in self._used(weights, point)]

        self.products = nn.ModuleDict(
            {
                str(point): ThreeProductConv(re, combined(weights_im, point), (1, 1), padding)
                for point in range(len(WEIGHTS))
                if (re := combined(weights_re, point))
            }
        )
        ones = weights_re[0].new_ones(len(weights_re[0]), 1, 1, 1)
        # As convolutions, which a runtime can keep in its blocked layout.
        self.minus, self.twice, self.fourfold = (depthwise_of(k * ones) for k in (-1, 2, 4))

    def forward(self, *inputs: Factors) -> list[ComplexPair]:
        """The rows of every tile, each [B, C', T', tiles]."""
        products: list[ComplexPair] = [
            product(*self._used([x[int(point)] for x in inputs], int(point)))
            for point, product in self.products.items()
        ]
        real, imag = (self._rows(list(parts)) for parts in zip(*products, strict=True))
        return list(zip(real, imag, strict=True))

    def _used(self, of_inputs: list[T], point: int) -> list[T]:
        """Those of the inputs that have a product at this point."""
        pairs = zip(of_inputs, self.taps, strict=True)
        return [each for each, taps in pairs if point > 0 or taps == TAPS]

    def _rows(self, products: list[Tensor]) -> list[Tensor]:
        """ROWS @ products."""
        *at_0, at_1, at_minus_1, at_2, at_infinity = products
        plus, minus = at_minus_1 + at_1, self.minus(at_minus_1) + at_1
        first = at_2 + plus
        return [
            at_0[0] + first if at_0 else first,
            self.twice(at_2) + minus,
            at_infinity + (self.fourfold(at_2) + plus),
        ]


def _combined(weight: Tensor, factors: tuple[float, ...]) -> Tensor:
    """A product's weight [C', C, T, 1] from one of two or three taps."""
    return (weight * weight.new_tensor(factors[-weight.shape[3] :])).sum(3, keepdim=True)


def interleaved(rows: list[ComplexPair]) -> ComplexPair:
    """Alternate the last axis of equally long [B, C, T, F]."""
    B, C, T, tiles = rows[0][0].shape

    def alternate(parts: list[Tensor]) -> Tensor:
        columns = [part.reshape(B, C, T * tiles, 1) for part in parts]
        return torch.cat(columns, dim=3).reshape(B, C, T, tiles * len(parts))

    return alternate([re for re, _ in rows]), alternate([im for _, im in rows])
