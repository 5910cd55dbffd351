"""GRU, LSTM and RNN in ONNX: against the PyTorch layers, at other sizes than the traced ones."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from frcrn_export.exporters.artifacts import torchscript_from_graph
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.module_passes import compute_in_fp16
from frcrn_export.exporters.onnx_export import Graph, onnx_from_module
from frcrn_export.exporters.recurrent import OnnxRecurrent, recurrent_to_onnx
from frcrn_export.exporters.streaming_core import StreamingCore, run_streaming
from frcrn_export.exporters.streaming_export import onnx_from_streaming
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import TensorSpec
from frcrn_export.runtime.errors import UserError
from tests.recurrent_networks import BINS, mask_core, mask_network, offline_onnx, streaming_onnx

KINDS = {"GRU": nn.GRU, "LSTM": nn.LSTM, "RNN": nn.RNN}


class Layer(nn.Module):
    """A layer with its states as inputs and outputs; `resumes`: it starts where they say."""

    def __init__(self, layer: nn.RNNBase, resumes: bool) -> None:
        super().__init__()
        self.layer = layer
        self.resumes = resumes

    def forward(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        given = () if not self.resumes else (before[0] if len(before) == 1 else before,)
        y, after = self.layer(x, *given)
        return (y, after) if isinstance(after, Tensor) else (y, *after)


def run(model: onnx.ModelProto, feeds: list[Tensor]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    return session.run(None, {n: t.numpy() for n, t in zip(names, feeds, strict=True)})


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    layers=st.integers(1, 3),
    flags=st.tuples(*[st.booleans()] * 4),
    shapes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 60)), min_size=2, max_size=3),
)
def test_the_operator_is_the_layer_at_every_size(
    kind: str,
    sizes: tuple[int, int],
    layers: int,
    flags: tuple[bool, bool, bool, bool],
    shapes: list[tuple[int, int]],
) -> None:
    batch_first, bidirectional, bias, resumes = flags
    torch.manual_seed(0)
    layer = KINDS[kind](
        *sizes, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional
    )
    module = Layer(layer.eval(), resumes)
    (inputs, hidden), directions = sizes, 1 + bidirectional
    state_count = 2 if kind == "LSTM" else 1

    def tensors(batch: int, frames: int) -> list[Tensor]:
        x = torch.randn(*((batch, frames) if batch_first else (frames, batch)), inputs)
        states = [torch.randn(layers * directions, batch, hidden) for _ in range(state_count)]
        return [x, *states] if resumes else [x]

    axes = ("batch", "frames") if batch_first else ("frames", "batch")
    state = (layers * directions, "batch", hidden)

    def described(name: str, shape: tuple[int | str, ...]) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=shape)

    model = onnx_from_module(
        module,
        tuple(tensors(2, 23)),
        (
            described("x", (*axes, inputs)),
            *(described(f"before{i}", state) for i in range(state_count if resumes else 0)),
        ),
        (
            described("y", (*axes, directions * hidden)),
            *(described(f"after{i}", state) for i in range(state_count)),
        ),
        "layer",
        {},
    )
    assert [node.op_type for node in model.graph.node].count(kind) == layers
    for batch, frames in [*shapes, (1, 1)]:
        feeds = tensors(batch, frames)
        with torch.inference_mode():
            expected = module(*feeds)
        for one, other in zip(run(model, feeds), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_rnn_keeps_its_activation(bidirectional: bool) -> None:
    torch.manual_seed(0)
    rnn = nn.RNN(3, 4, nonlinearity="relu", bidirectional=bidirectional).eval()
    axes = ("frames", "batch")
    model = onnx_from_module(
        Layer(rnn, resumes=False),
        (torch.randn(5, 2, 3),),
        (TensorSpec(name="x", dtype="float32", shape=(*axes, 3)),),
        (
            TensorSpec(name="y", dtype="float32", shape=(*axes, 4 * (1 + bidirectional))),
            TensorSpec(name="after", dtype="float32", shape=(1 + bidirectional, "batch", 4)),
        ),
        "layer",
        {},
    )
    x = torch.randn(17, 3, 3)
    with torch.inference_mode():
        np.testing.assert_allclose(run(model, [x])[0], rnn(x)[0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_at_every_batch_and_length(kind: str) -> None:
    network = mask_network(KINDS[kind], layers=2)
    model = offline_onnx(network)
    assert [node.op_type for node in model.graph.node].count(kind) == 2
    for batch, frames in ((1, 7), (3, 101), (1, 1)):
        spec = torch.randn(batch, 2, BINS, frames)
        with torch.inference_mode():
            np.testing.assert_allclose(run(model, [spec])[0], network(spec), atol=1e-5)


class InOnnxRuntime(nn.Module):
    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = model

    def forward(self, *feeds: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, run(self.model, list(feeds))))


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_the_whole(kind: str, chunk: int) -> None:
    network = mask_network(KINDS[kind], layers=2)
    core = mask_core(network, chunk)
    shapes = {state.name: state.shape for state in core.states}
    state = ("batch", 2, 24)
    assert shapes == {"first": ("batch", 2 * BINS, 2), "before": ("batch", 32, 2)} | (
        {"recurrent": state}
        if kind != "LSTM"
        else {"recurrent.hidden": state, "recurrent.cell": state}
    )
    spec = torch.randn(3, 2, BINS, 43)
    with torch.inference_mode():
        expected = network(spec)
        np.testing.assert_allclose(run_streaming(core, spec), expected, atol=1e-5)
        exported = StreamingCore(
            InOnnxRuntime(streaming_onnx(core)), chunk, 0, core.states, end=False
        )
        np.testing.assert_allclose(run_streaming(exported, spec), expected, atol=1e-5)


def test_torchscript_is_made_of_the_layer_itself() -> None:
    network = mask_network(nn.LSTM)
    shape = ("batch", 2, BINS, "frames")
    given, enhanced = (
        TensorSpec(name=name, dtype="float32", shape=shape) for name in ("spec", "enhanced")
    )
    graph = Graph(network, torch.randn(2, 2, BINS, 23), given, enhanced)
    loaded = torch.jit.load(BytesIO(torchscript_from_graph(graph)))
    for batch, frames in ((1, 7), (3, 101)):
        spec = torch.randn(batch, 2, BINS, frames)
        with torch.inference_mode():
            np.testing.assert_allclose(loaded(spec), network(spec), atol=1e-5)


def test_the_module_itself_stays_as_it_is_and_a_shared_layer_stays_shared() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.GRU(3, 3)
            self.two = self.one
            self.linear = nn.Linear(3, 3)

    module = Twice()
    given = module.state_dict()
    copied = recurrent_to_onnx(module)
    assert isinstance(copied.one, OnnxRecurrent)
    assert copied.one is copied.two
    assert copied.linear.weight is module.linear.weight
    assert type(module.one) is nn.GRU
    assert module.state_dict().keys() == given.keys()
    plain = nn.Sequential(nn.Linear(3, 3))
    assert recurrent_to_onnx(plain) is plain


def test_what_has_no_onnx_form() -> None:
    module = nn.Sequential(nn.LSTM(3, 4, proj_size=2))
    with pytest.raises(UserError, match=r"^0: nn.LSTM with proj_size=2 has no ONNX form; use an"):
        recurrent_to_onnx(module)
    layer = recurrent_to_onnx(nn.GRU(3, 4))
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(5, 1, 3), torch.tensor([5]))
    with pytest.raises(UserError, match=r"nn.GRU: .*; leave out pack_padded_sequence"):
        layer(packed)
    with pytest.raises(UserError, match="unsqueeze what has no batch axis"):
        layer(torch.randn(5, 3))


def test_a_layer_that_goes_backwards_cannot_stream() -> None:
    model = load_model("wave-unet-16k", seed=0)
    core = StreamingCore(nn.Sequential(nn.LSTM(3, 3, bidirectional=True)), 64, 0, (), end=False)
    with pytest.raises(UserError, match=r"^0: a bidirectional nn.LSTM cannot stream; train"):
        onnx_from_streaming(model, core, "streaming", {})


def slow(network: nn.Module) -> nn.Module:
    """Gates that forget hardly anything, whose states take what float16 would lose."""
    layer = network.recurrent
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                parameter.mul_(3)
            elif name.startswith("bias_hh"):
                parameter[24:48] += 6  # z of a GRU, f of an LSTM
    return network


def in_fp16(make: Callable[[], nn.Module]) -> nn.Module:
    network = make()
    compute_in_fp16([network.first, network.before, network.recurrent, network.behind])
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_in_float16_the_layer_stays_float32(kind: str) -> None:
    exact = slow(mask_network(KINDS[kind]))
    fp16 = in_fp16(lambda: slow(mask_network(KINDS[kind])))
    assert fp16.before.weight.dtype == torch.float16
    for name, parameter in exact.recurrent.named_parameters():
        assert torch.equal(fp16.recurrent.get_parameter(name), parameter)  # not rounded on the way
    model = offline_onnx(fp16)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["recurrent.R0"] == onnx.TensorProto.FLOAT
    assert types["before.weight"] == onnx.TensorProto.FLOAT16
    spec = torch.randn(1, 2, BINS, 400)
    with torch.inference_mode():
        expected = exact(spec).numpy()
        assert snr_db(expected, fp16(spec).numpy()) > 60
    assert snr_db(expected, run(model, [spec])[0]) > 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_in_float16_keeps_its_recurrent_state_exactly(kind: str) -> None:
    exact = slow(mask_network(KINDS[kind]))
    fp16 = in_fp16(lambda: slow(mask_network(KINDS[kind])))
    core = mask_core(fp16)
    spec = torch.randn(1, 2, BINS, 200)
    with torch.inference_mode():
        output = run_streaming(core, spec)
        _, *states = core.module(spec[..., :1], *core.initial(1))
        assert snr_db(exact(spec).numpy(), output.numpy()) > 60
    for state in states[2:]:
        assert state.dtype == torch.float32
        assert not torch.equal(state, state.half().float())
