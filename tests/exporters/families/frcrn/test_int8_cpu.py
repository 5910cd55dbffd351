"""The form for INT8 on processors against the reference, whole and frame by frame."""

import pytest
import torch

from frcrn_export.exporters.families.frcrn.gpu import pair_frcrn
from frcrn_export.exporters.families.frcrn.int8_cpu import row_frcrn
from frcrn_export.exporters.families.frcrn.int8_cpu_layers import RowFsmn, complex_matrix
from frcrn_export.exporters.families.frcrn.network import FRCRN_16K, FRCRN_16K_512, FrcrnConfig
from frcrn_export.exporters.families.frcrn.streaming import stream_frcrn
from frcrn_export.exporters.streaming_core import run_streaming
from tests.exporters.families.frcrn.test_lowered import random_network, relative_error


@pytest.mark.parametrize("config", [FRCRN_16K, FRCRN_16K_512], ids=["321", "257"])
@torch.inference_mode()
def test_equals_the_reference_in_float64(config: FrcrnConfig) -> None:
    network = random_network(config).double()
    rows = row_frcrn(network)
    for batch, frames in ((1, 1), (3, 2), (2, 9)):
        spec = torch.randn(batch, 2, config.bins, frames, dtype=torch.float64)
        assert relative_error(rows(spec), network(spec)) < 1e-9


@pytest.mark.parametrize("pooling", ["cumulative", 4])
@torch.inference_mode()
def test_causal_means_equal_the_reference(pooling: str | int) -> None:
    network = random_network(FRCRN_16K_512).double()
    network.set_pooling(pooling, str(pooling))  # type: ignore[arg-type]
    spec = torch.randn(2, 2, FRCRN_16K_512.bins, 9, dtype=torch.float64)
    assert relative_error(row_frcrn(network)(spec), network(spec)) < 1e-9


@pytest.mark.parametrize(("chunk", "lookahead"), [(1, None), (3, None), (2, 5), (1, 0)])
@torch.inference_mode()
def test_streams_as_the_float_form_does(chunk: int, lookahead: int | None) -> None:
    network = random_network(FRCRN_16K_512).double()
    network.set_pooling("cumulative", "cumulative")
    floats = stream_frcrn(network, chunk, lookahead)
    rows = stream_frcrn(network, chunk, lookahead, "int8_cpu")
    spec = torch.randn(2, 2, FRCRN_16K_512.bins, 19, dtype=torch.float64)
    assert relative_error(run_streaming(rows, spec), run_streaming(floats, spec)) < 1e-9
    if lookahead is None:
        assert relative_error(run_streaming(rows, spec), network(spec)) < 1e-9


def test_a_complex_matrix_is_the_complex_product() -> None:
    re, im, x_re, x_im = torch.randn(4, 3, 3)
    weight = complex_matrix(re[..., None, None], im[..., None, None], sources=1)[..., 0, 0]
    y = weight @ torch.cat((x_re, x_im))
    real, imag = y.chunk(2)
    product = torch.complex(re, im) @ torch.complex(x_re, x_im)
    torch.testing.assert_close(torch.complex(real, imag), product)


@torch.inference_mode()
def test_a_layer_over_time_is_causal() -> None:
    paired = pair_frcrn(random_network(FRCRN_16K_512).double())
    layer = RowFsmn(paired.unet.bottleneck[0], over_time=True)
    x = torch.randn(1, 8, 1, 256, dtype=torch.float64)
    changed = x.clone()
    changed[:, 5:] = 0
    torch.testing.assert_close(layer(x)[:, :5], layer(changed)[:, :5])
    assert not torch.equal(layer(x)[:, 5:], layer(changed)[:, 5:])
