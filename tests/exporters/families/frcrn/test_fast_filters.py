import numpy as np
import pytest
import torch
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import fast_filters as fast
from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.layers import ComplexPair
from frcrn_export.exporters.families.frcrn.lowered import (
    FAST_ROWS,
    Decoder,
    Encoder,
    LoweredUNet,
    lower_frcrn,
)
from frcrn_export.exporters.families.frcrn.network import FRCRN, FRCRN_16K, FRCRN_16K_512


def test_the_tables_are_those_of_a_filter_of_three_taps() -> None:
    rows, weights, factors = map(np.array, (fast.ROWS, fast.WEIGHTS, fast.FACTORS))
    of_taps_and_inputs = np.einsum("yp,pg,pd->ygd", rows, weights, factors)
    expected = [[[float(d == y + g) for d in range(5)] for g in range(3)] for y in range(3)]
    np.testing.assert_allclose(of_taps_and_inputs, expected, atol=1e-12)


def test_the_last_factors_do_not_read_the_first_row() -> None:
    assert not np.array(fast.FACTORS)[1:, 0].any()


def pair(*shape: int) -> ComplexPair:
    return torch.randn(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)


def joined(x: ComplexPair) -> torch.Tensor:
    return torch.complex(*x)


@pytest.mark.parametrize("taps", [2, 3])
def test_products_of_tiles_make_a_convolution(taps: int) -> None:
    x, tiles = pair(2, 4, 3, 11), 4
    weights = [pair(5, 4, 2, taps) for _ in range(2)]
    cut = fast.RowTiles(weights[0][0], tiles, every=1, before=2)
    conv = fast.FastConv([re for re, _ in weights], [im for _, im in weights], (1, 0))
    rows = joined(fast.interleaved(conv(cut(x), cut(x))))
    whole = sum(map(joined, weights))
    assert isinstance(whole, torch.Tensor)
    padded = F.pad(joined(x), (taps - 1, 3 * tiles - 11))
    torch.testing.assert_close(rows, F.conv2d(padded, whole, padding=(1, 0)))


def test_a_filter_of_two_taps_needs_four_products() -> None:
    weight = torch.randn(5, 4, 2, 3)
    assert len(fast.FastConv([weight], [weight], (0, 0)).products) == 5
    assert len(fast.FastConv([weight[..., 1:]], [weight[..., 1:]], (0, 0)).products) == 4


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (3, 2), (2, 5)])
@pytest.mark.parametrize("rows", [5, 6, 7, 8, 11, 12, 16, 29])
@torch.inference_mode()
def test_an_encoder_equals_the_plain_one(rows: int, batch: int, frames: int) -> None:
    encoder = frcrn_layers.Encoder(4, 3, (5, 2)).double().eval()
    x = pair(batch, 4, frames, rows)
    expected = Encoder(encoder)(x)
    y = fast.FastEncoder(encoder, expected[0].shape[3])(x)
    torch.testing.assert_close(joined(y), joined(expected))


@pytest.mark.parametrize(("batch", "frames"), [(1, 2), (3, 3), (2, 6)])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize("kernel", [5, 6])
@torch.inference_mode()
def test_a_decoder_equals_the_plain_one(kernel: int, rows: int, batch: int, frames: int) -> None:
    decoder = frcrn_layers.Decoder(8, 3, (kernel, 2)).double().eval()
    inputs = [pair(batch, 4, frames, rows) for _ in range(2)]
    expected = Decoder(decoder, inputs=2)(*inputs)
    y = fast.FastDecoder(decoder, 2, expected[0].shape[3])(*inputs)
    torch.testing.assert_close(joined(y), joined(expected))


@pytest.mark.parametrize("config", [FRCRN_16K, FRCRN_16K_512], ids=["321", "257"])
def test_the_widest_layers_are_fast(config: frcrn_layers.FrcrnConfig) -> None:
    network = FRCRN(config)
    with torch.no_grad():
        unet = LoweredUNet(network.unet)
    inner = config.rows[2:]
    assert [isinstance(layer, fast.FastEncoder) for layer in unet.encoders] == [
        rows >= FAST_ROWS for rows in inner
    ]
    assert [isinstance(layer, fast.FastDecoder) for layer in unet.decoders[::-1]] == [
        rows >= FAST_ROWS for rows in config.rows[1:-1]
    ]
    assert any(rows >= FAST_ROWS for rows in inner)
    plain = lower_frcrn(network, fast=False)
    assert not any(isinstance(layer, fast.FastConv) for layer in plain.modules())
