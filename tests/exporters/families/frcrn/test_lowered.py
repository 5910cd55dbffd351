import numpy as np
import onnx
import pytest
import torch

from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.lowered import (
    Decoder,
    LastDecoder,
    interleave,
    lower_frcrn,
)
from frcrn_export.exporters.families.frcrn.network import (
    FRCRN,
    FRCRN_16K,
    FRCRN_16K_512,
    FrcrnConfig,
)
from frcrn_export.exporters.onnx_export import Graph, onnx_from_graph
from frcrn_export.runtime.bundle.manifest import TensorSpec
from tests.golden_weights import frcrn_golden_state


@pytest.mark.parametrize("even", [3, 4])
def test_interleave_alternates_the_last_axis(even: int) -> None:
    rows = torch.arange(float(even + 3)).expand(2, 2, 2, -1)
    assert torch.equal(interleave(rows[..., 0::2], rows[..., 1::2]), rows)


@pytest.mark.parametrize("kernel", [2, 3, 5, 6])
@torch.inference_mode()
def test_decoder_equals_the_transposed_convolution(kernel: int) -> None:
    decoder = frcrn_layers.Decoder(8, 3, (kernel, 2)).double().eval()
    x, skip = torch.randn(2, 2, 4, 7, 5, 2, dtype=torch.float64)  # each [B, C, F, T, 2]
    pairs = [part.transpose(2, 3).unbind(-1) for part in (x, skip)]
    real, imag = Decoder(decoder, inputs=2)(*pairs)
    expected = decoder(torch.cat((x, skip), dim=1))
    torch.testing.assert_close(torch.stack((real, imag), dim=-1).transpose(2, 3), expected)


@torch.inference_mode()
def test_last_decoder_equals_the_transposed_convolution() -> None:
    decoder = frcrn_layers.Decoder(8, 1, (5, 2)).double().eval()
    linear = frcrn_layers.ComplexConv2d(1, 1, (1, 1)).double()
    x, skip = torch.randn(2, 2, 4, 7, 5, 2, dtype=torch.float64)
    pairs = [part.transpose(2, 3).unbind(-1) for part in (x, skip)]
    spec = LastDecoder(decoder, linear)(*pairs)  # [B, 2, T, F]
    expected = linear(decoder(torch.cat((x, skip), dim=1)))[:, 0]  # [B, F, T, 2]
    torch.testing.assert_close(spec.permute(0, 3, 2, 1), expected)


# What every runtime in view supports, without control flow. Shape and Squeeze only ever
# compute the sizes of tensors with a dynamic axis.
ALLOWED_OPS = {
    *("Conv", "ConvTranspose", "LeakyRelu", "ReduceMean", "Relu", "Sigmoid", "Tanh"),
    *("Add", "Mul", "Sub", "Concat", "Reshape", "Slice", "Transpose"),
    *("Shape", "Squeeze"),
}


def random_network(config: FrcrnConfig) -> FRCRN:
    """Random weights and running statistics, some batch norms with negative scales."""
    torch.manual_seed(0)
    network = FRCRN(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def golden_network() -> FRCRN:
    network = FRCRN(FRCRN_16K)
    network.load_state_dict(frcrn_golden_state())
    return network.eval()


@pytest.mark.parametrize("config", [FRCRN_16K, FRCRN_16K_512], ids=["321", "257"])
@torch.inference_mode()
def test_equals_the_reference_in_float64(config: FrcrnConfig) -> None:
    network = random_network(config).double()
    lowered = lower_frcrn(network)
    for batch, frames in ((1, 1), (3, 2), (2, 9)):
        spec = torch.randn(batch, 2, config.bins, frames, dtype=torch.float64)
        assert relative_error(lowered(spec), network(spec)) < 1e-9


@torch.inference_mode()
def test_equals_the_golden_reference_in_float32(golden_network: FRCRN) -> None:
    lowered = lower_frcrn(golden_network)
    for batch, frames in ((1, 1), (2, 12)):
        spec = 0.1 * torch.randn(batch, 2, FRCRN_16K.bins, frames)
        assert relative_error(lowered(spec), golden_network(spec)) < 1e-4


def test_the_network_is_left_as_it_was(golden_network: FRCRN) -> None:
    before = {key: value.clone() for key, value in golden_network.state_dict().items()}
    lowered = lower_frcrn(golden_network)
    for parameter in lowered.parameters():
        parameter.zero_()
    for key, value in golden_network.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.fixture(scope="module")
def exported(golden_network: FRCRN) -> onnx.ModelProto:
    shape = ("batch", 2, FRCRN_16K.bins, "frames")
    tensors = (TensorSpec(name=n, dtype="float32", shape=shape) for n in ("spec", "enhanced"))
    example = torch.randn(2, 2, FRCRN_16K.bins, 5)
    return onnx_from_graph(Graph(lower_frcrn(golden_network), example, *tensors), "core", {})


@pytest.mark.slow
def test_exported_graph_is_clean(exported: onnx.ModelProto) -> None:
    onnx.checker.check_model(exported)
    model = onnx.shape_inference.infer_shapes(exported, strict_mode=True, data_prop=True)
    assert {node.op_type for node in model.graph.node} <= ALLOWED_OPS
    ranks = [len(value.type.tensor_type.shape.dim) for value in model.graph.value_info]
    ranks += [len(weight.dims) for weight in model.graph.initializer]
    assert max(ranks) == 4


@pytest.mark.slow
def test_exported_graph_runs_at_untraced_sizes(
    golden_network: FRCRN, exported: onnx.ModelProto
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        exported.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch, frames in ((1, 1), (3, 2), (1, 23)):
        spec = 0.1 * torch.randn(batch, 2, FRCRN_16K.bins, frames)
        with torch.inference_mode():
            expected = golden_network(spec)
        (enhanced,) = session.run(None, {"spec": spec.numpy()})
        assert enhanced.shape == tuple(expected.shape)
        assert relative_error(torch.from_numpy(np.asarray(enhanced)), expected) < 1e-4
