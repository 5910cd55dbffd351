"""Complex layers on the parts of a tensor as two rows, against the layers of the network."""

from typing import Any

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn.gpu import PairedGains
from frcrn_export.exporters.families.frcrn.network import FRCRN_16K, FrcrnConfig
from frcrn_export.exporters.families.frcrn.streaming_cpu_layers import (
    CONSTANT,
    THREE_PRODUCTS_FROM,
    FourProducts,
    PartsConv,
    PartsDecoder,
    PartsFsmn,
    PartsGains,
    PartsLastDecoder,
    ThreeProducts,
    parts_encoder,
)
from frcrn_export.exporters.families.frcrn.streaming_layers import Stage
from frcrn_export.exporters.streaming_core import StatesRecorder
from tests.exporters.families.frcrn.test_lowered import random_network, relative_error

SMALL = FrcrnConfig(
    bins=25, encoder_kernels=((5, 2), (5, 2), (4, 2)), channels=4, fsmn_hidden=5, fsmn_lorder=4,
    se_reduction=2,
)  # fmt: skip
FEW, MANY = 1, THREE_PRODUCTS_FROM  # rows: four products, three


def layer(name: str) -> Any:
    return random_network(SMALL).double().unet.get_submodule(name)


def frames(channels: int, count: int, rows: int) -> Tensor:
    """As the network has them: [1, C, F, T, 2]."""
    torch.manual_seed(rows)
    return torch.randn(1, channels, rows, count, 2, dtype=torch.float64)


def as_parts(x: Tensor) -> Tensor:
    """[1, C, F, T, 2] to [T, C, 2, F]."""
    return x[0].permute(2, 0, 3, 1)


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("products", [FourProducts, ThreeProducts])
@torch.inference_mode()
def test_products_are_the_complex_product(
    products: type[FourProducts] | type[ThreeProducts], stride: int, before: int
) -> None:
    re, im = torch.randn(2, 3, 5, 1, 3, dtype=torch.float64)
    x = torch.randn(2, 5, 2, 9, dtype=torch.float64)
    y = products(re, im, stride, before)(x)
    z = torch.complex(*nn.functional.pad(x, (before, 0)).unbind(2))
    expected = torch.nn.functional.conv1d(z, torch.complex(re, im)[:, :, 0], stride=stride)
    real = products.real_row
    got = torch.complex(y[:, :, real], y[:, :, 1 - real]) - CONSTANT * (1 + 1j)
    assert (got - expected).abs().max() < 1e-12
    assert (y[:, :, 2] == CONSTANT).all()


@pytest.mark.parametrize("rows", [FEW, MANY])
@torch.inference_mode()
def test_an_encoder(rows: int) -> None:
    encoder = layer("encoder1")
    x = frames(4, 5, 11)
    y = as_parts(encoder(x))  # of one frame more, since it sees zeros around
    parts = as_parts(x)
    seen = torch.cat((parts[:-1], parts[1:]), dim=1)
    assert relative_error(parts_encoder(encoder, rows)(seen), y[1:-1]) < 1e-12


@pytest.mark.parametrize("rows", [FEW, MANY])
@pytest.mark.parametrize("name", ["decoder0", "decoder1"])  # filters of 4 and 5 rows
@torch.inference_mode()
def test_a_decoder(name: str, rows: int) -> None:
    decoder = layer(name)
    inputs = 1 if name == "decoder0" else 2
    x = frames(4 * inputs, 4, 6)
    own = PartsDecoder(decoder, True, rows)
    seen = []
    for part in as_parts(x).chunk(inputs, dim=1):
        padded = nn.functional.pad(part, own.beside)
        seen += [padded[:-1], padded[1:]]
    assert relative_error(own(torch.cat(seen, dim=1)), as_parts(decoder(x))) < 1e-12


@pytest.mark.parametrize("waits", [True, False])
@torch.inference_mode()
def test_the_last_decoder(waits: bool) -> None:
    unet = random_network(SMALL).double().unet
    decoder: Any = unet.get_submodule("decoder2")
    if not waits:
        for conv in (decoder.transconv.tconv_re, decoder.transconv.tconv_im):
            conv.weight[..., 0] = 0
    x = frames(8, 4, 11)
    expected = as_parts(unet.linear(decoder(x)))  # [T - 1, 1, 2, F]
    own = PartsLastDecoder(decoder, unet.linear, waits)
    products = own.products(as_parts(x))
    seen = torch.cat((products[:-1], products[1:]), dim=1) if waits else products[:-1]
    assert relative_error(own(seen)[:, None, :, 0], expected) < 1e-12


@torch.inference_mode()
def test_a_memory_over_frequency() -> None:
    unet = random_network(SMALL).double().unet
    re, im = (unet.get_submodule(f"fsmn_enc1.fsmn_{part}_L1") for part in ("re", "im"))
    x = frames(4, 3, 11)
    expected = as_parts(unet.get_submodule("fsmn_enc1")(x))
    own = PartsFsmn(re, im)  # type: ignore[arg-type]
    assert relative_error(own(as_parts(x)), expected) < 1e-12


@pytest.mark.parametrize("count", [1, 3])
@torch.inference_mode()
def test_gains(count: int) -> None:
    """Of the mean over a single frame, one layer or several at once."""
    network = random_network(SMALL).double()
    network.set_pooling("cumulative", "cumulative")
    layers = [network.unet.get_submodule(f"se_layer_enc{i % 2}") for i in range(count)]
    xs = [frames(4, 1, 5 + i) for i in range(count)]
    one = torch.ones(1, count, 1, 1, dtype=torch.float64)
    gains = PartsGains([PairedGains(se) for se in layers])(  # type: ignore[arg-type]
        [as_parts(x) for x in xs], Stage(one, one), StatesRecorder(1, torch.float64), "gains"
    )
    for se, x, gain in zip(layers, xs, gains, strict=True):
        assert relative_error(as_parts(x) * gain, as_parts(se(x))) < 1e-12


@pytest.mark.parametrize("scale", [0.0, -0.5, 1e-6, 1e4])
@torch.inference_mode()
def test_the_scale_of_one_part_costs_the_other_no_digits(scale: float) -> None:
    encoder = layer("encoder1")
    encoder.bn.bn_re.weight.fill_(scale)
    seen = torch.randn(2, 8, 2, 11)
    exact = parts_encoder(encoder, MANY)(seen.double())
    got = parts_encoder(encoder, MANY).float()(seen)
    for part in (0, 1):
        assert relative_error(got[:, :, part], exact[:, :, part]) < 2e-6


@pytest.mark.parametrize("rows", [FEW, MANY])
@torch.inference_mode()
def test_onnx_runtime_keeps_its_layout(rows: int, tmp_path: Any) -> None:
    """One reordering at the beginning and one at the end: the reason for this form."""
    network = random_network(FRCRN_16K).unet
    encoder: Any = network.get_submodule("encoder1")
    names = (f"fsmn_enc2.fsmn_{part}_L1" for part in ("re", "im"))
    memory = PartsFsmn(*map(network.get_submodule, names))  # type: ignore[arg-type]
    both = nn.Sequential(parts_encoder(encoder, rows), memory).eval()
    assert isinstance(both[0], PartsConv)
    path, optimised = tmp_path / "layers.onnx", tmp_path / "optimised.onnx"
    torch.onnx.export(both, (torch.randn(1, 256, 2, 37),), path, dynamo=True, verbose=False)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(optimised).graph.node]
    assert operators.count("ReorderInput") == operators.count("ReorderOutput") == 1
    assert set(operators) == {"ReorderInput", "Conv", "ReorderOutput"}
