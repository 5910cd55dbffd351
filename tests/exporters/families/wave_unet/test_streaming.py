from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from frcrn_export.exporters.families.wave_unet import FAMILY as wave_unet
from frcrn_export.exporters.families.wave_unet.network import (
    PaddedConv1d,
    TrimmedConvTranspose1d,
    WaveUNet,
    WaveUNetConfig,
)
from frcrn_export.exporters.families.wave_unet.streaming import (
    StreamingProduct,
    down,
    stream_wave_unet,
    up,
)
from frcrn_export.exporters.families.wave_unet_12x24 import FAMILY as wave_unet_12x24
from frcrn_export.exporters.families.wave_unet_12x24.network import (
    WaveUNet12x24,
    WaveUNet12x24Config,
)
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.streaming_core import StreamingCore, run_streaming
from frcrn_export.exporters.streaming_export import onnx_from_streaming
from frcrn_export.runtime.errors import UserError
from tests.wave_unets import MASKING

CONFIGS = {
    "as described": WaveUNetConfig(channels=(6, 8, 10)),
    "residual": WaveUNetConfig(
        channels=(3, 4, 5, 6), strides=(4, 4, 4, 2), context_blocks=4, residual=True
    ),
    "masking": MASKING,
    "one level": WaveUNetConfig(channels=(3,), strides=(3,), kernel_size=5),
    "nothing past": WaveUNetConfig(channels=(3, 4), strides=(1, 1), kernel_size=1),
}


def small_network(config: WaveUNetConfig, seed: int = 0) -> WaveUNet:
    """A network in float64 whose every layer has something to say."""
    torch.manual_seed(seed)
    network = WaveUNet(config).double()
    network.train()(torch.randn(8, 1, 16 * network.hop, dtype=torch.float64))
    return network.eval().requires_grad_(False)


NETWORKS = {name: small_network(config) for name, config in CONFIGS.items()}


def noise(network: WaveUNet, hops: int, batch: int = 1, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    samples = hops * network.hop
    return torch.randn(batch, 1, samples, generator=generator, dtype=torch.float64)


def error(output: Tensor, expected: Tensor) -> float:
    return float((output - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("hops", range(1, 17))
def test_equals_the_network_in_chunks_of_every_size(name: str, hops: int) -> None:
    network = NETWORKS[name]
    wave = noise(network, 37, batch=2)
    core = stream_wave_unet(network, hops)
    assert (core.chunk, core.lookahead, core.end) == (hops * network.hop, 0, False)
    output = run_streaming(core, wave)
    assert output.shape == wave.shape
    assert error(output, network(wave)) < 1e-9


@torch.no_grad()
def streamed(layer: StreamingProduct, x: Tensor, chunks: list[int]) -> Tensor:
    """The output [B, C', N'] of a layer for x [B, C, N], in calls of so many frames."""
    past = x.new_zeros(len(x), layer.past, layer.channels)
    outputs = []
    for chunk in x.transpose(1, 2).split(chunks, dim=1):
        following: list[Tensor] = []
        outputs.append(layer(chunk, iter([past]), following))
        past = following[0] if following else past
    return torch.cat(outputs, 1).transpose(1, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "dilation"),
    [
        (1, 15, 4, 1),  # a waveform: taps are added to make whole strides
        (1, 12, 4, 1),
        (5, 15, 4, 1),
        (5, 3, 2, 1),
        (5, 6, 4, 1),  # copied in blocks of two frames
        (5, 3, 1, 4),
        (5, 1, 1, 1),
    ],
)
def test_a_product_is_its_convolution(
    channels: int, kernel: int, stride: int, dilation: int, relu: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(kernel)
    pad = ((kernel - 1) * dilation + 1 - stride, 0)
    conv = PaddedConv1d(channels, 6, kernel, pad, stride, dilation).to(dtype).requires_grad_(False)
    x = torch.randn(3, channels, 40, dtype=dtype)
    output = streamed(down(conv, relu), x, [4, 8, 16, 12])
    assert output.shape == (3, 6, 40 // stride)
    expected = F.relu(conv(x)) if relu else conv(x)
    assert error(output, expected) < (1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize(("kernel", "stride"), [(15, 4), (8, 4), (3, 2), (5, 1), (4, 4)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_its_transposed_convolution(kernel: int, stride: int, bias: bool) -> None:
    torch.manual_seed(kernel)
    trim = (0, kernel - stride)
    conv = TrimmedConvTranspose1d(5, 6, kernel, trim, stride, bias=bias).double()
    conv.requires_grad_(False)
    x = torch.randn(3, 5, 20, dtype=torch.float64)
    output = streamed(up(conv), x, [1, 2, 7, 10])
    assert output.shape == (3, 6, 20 * stride)
    assert error(output, conv(x)) < 1e-12


def test_the_graph_has_one_product_a_layer_and_nothing_to_transpose() -> None:
    """Each with a constant matrix, which ONNX Runtime packs once for its kernels."""
    model = load_model("wave-unet-16k")
    core = stream_wave_unet(model.network, 2)
    graph = onnx_from_streaming(model, core, "network", {}).graph
    kinds = Counter(node.op_type for node in graph.node)
    layers = [each for each in core.module.modules() if isinstance(each, StreamingProduct)]
    with_bias = sum(layer.bias is not None for layer in layers)
    assert (kinds["Gemm"], kinds["MatMul"]) == (with_bias, len(layers) - with_bias)
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    assert {n.input[1] for n in graph.node if n.op_type in ("Gemm", "MatMul")} <= matrices
    assert not {"Conv", "Transpose", "Shape"} & set(kinds)
    assert kinds["Gather"] + kinds["Slice"] + kinds["Concat"] <= 3 * len(layers)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 16), min_size=1, max_size=12), st.integers(0, 99))
def test_chunk_sizes_may_change_within_a_stream(chunks: list[int], seed: int) -> None:
    network = NETWORKS["masking"]
    wave = noise(network, sum(chunks), seed=seed)
    states = stream_wave_unet(network, 1).initial(1, torch.float64)
    outputs = []
    for piece in wave.split([hops * network.hop for hops in chunks], dim=2):
        core = stream_wave_unet(network, piece.shape[2] // network.hop)
        output, *following = core.module(piece, *states)
        states = tuple(following)
        outputs.append(output)
    assert error(torch.cat(outputs, 2), network(wave)) < 1e-9


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_streams_of_a_batch_restart_on_their_own(restarts: list[tuple[bool, bool]]) -> None:
    """Before every call, each of two streams may start anew: its row of every state is reset."""
    network = NETWORKS["masking"]
    core = stream_wave_unet(network, 1)
    wave = noise(network, len(restarts), batch=2)
    states, fresh = core.initial(2, torch.float64), core.initial(2, torch.float64)
    outputs = []
    for chunk, again in zip(wave.split(core.chunk, 2), restarts, strict=True):
        rows = torch.tensor(again)[:, None, None]
        states = tuple(torch.where(rows, a, b) for a, b in zip(fresh, states, strict=True))
        output, *following = core.module(chunk, *states)
        states = tuple(following)
        outputs.append(output)
    streamed = torch.cat(outputs, 2)
    for row in range(2):
        starts = [0, *(call for call, again in enumerate(restarts) if again[row] and call)]
        for start, stop in zip(starts, [*starts[1:], len(restarts)], strict=True):
            session = slice(start * core.chunk, stop * core.chunk)
            expected = network(wave[row : row + 1, :, session])
            assert error(streamed[row : row + 1, :, session], expected) < 1e-9


@pytest.mark.parametrize("name", CONFIGS)
def test_states_are_as_described(name: str) -> None:
    network = NETWORKS[name]
    core = stream_wave_unet(network, 2)
    states = core.initial(3, torch.float64)
    following = core.module(noise(network, 2, batch=3), *states)[1:]
    assert [state.shape for state in following] == [state.shape for state in states]
    assert all(not state.any() for state in states)
    names = [name for spec in core.states for name in (spec.name, spec.next)]
    assert len(set(names)) == len(names)
    assert (core.states == ()) == (name == "nothing past")


def test_a_state_that_is_lost_is_heard() -> None:
    """The equality above is no accident of short memories."""
    network = NETWORKS["masking"]
    core = stream_wave_unet(network, 1)
    wave = noise(network, 20)
    expected = network(wave)
    for lost in range(len(core.states)):

        class Forgetful(torch.nn.Module):
            def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
                kept = list(states)
                kept[lost] = torch.zeros_like(kept[lost])  # noqa: B023
                outputs: tuple[Tensor, ...] = core.module(x, *kept)
                return outputs

        forgetful = StreamingCore(Forgetful(), core.chunk, 0, core.states, end=False)
        assert error(run_streaming(forgetful, wave), expected) > 1e-4, core.states[lost].name


def test_only_causal_networks_stream() -> None:
    network = WaveUNet(WaveUNetConfig(channels=(3,), strides=(2,), causal=False)).eval()
    with pytest.raises(UserError, match="not causal and cannot stream: leave out --streaming"):
        wave_unet.streaming(network, 1, None)


def test_there_is_no_look_ahead_to_reduce() -> None:
    network = NETWORKS["one level"]
    assert wave_unet.streaming(network, 3, None).chunk == 9
    assert wave_unet.streaming(network, 3, 0).lookahead == 0
    with pytest.raises(UserError, match="leave out --lookahead 2"):
        wave_unet.streaming(network, 3, 2)


def test_the_interpolating_network_names_the_windowed_mode() -> None:
    network = WaveUNet12x24(WaveUNet12x24Config(layers=2, channels_interval=2))
    with pytest.raises(UserError, match="no exact streaming form.*overlapping windows"):
        wave_unet_12x24.streaming(network, 1, None)
