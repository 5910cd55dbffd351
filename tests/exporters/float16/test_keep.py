import numpy as np
import onnx
import pytest
from onnx import TensorProto

from frcrn_export.exporters.float16.graph import exact_constants, float16_graph
from frcrn_export.exporters.float16.keep import keep_in_float32
from frcrn_export.exporters.float16.rounding import SWITCHES, rounded, with_switches
from frcrn_export.exporters.layer_runs import session_call
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.reader import Bundle

KINDS = pytest.mark.parametrize("kind", ["core", "core.streaming"])


def read(bundle: Bundle, kind: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The float32 and the float16 graph."""
    return onnx.load(bundle.path / f"{kind}.onnx"), onnx.load(bundle.path / f"{kind}.fp16.onnx")


def inputs_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        value.name: rng.standard_normal(
            [d.dim_value or (1 if d.dim_param == "batch" else 640) for d in dims]
        ).astype(np.float32)
        for value in model.graph.input
        if (dims := list(value.type.tensor_type.shape.dim))
    }


@KINDS
def test_without_layers_nothing_changes(small_wave_bundle: Bundle, kind: str) -> None:
    exact, half = read(small_wave_bundle, kind)
    graph = float16_graph(half)
    kept = keep_in_float32(graph, exact_constants(graph.constants, exact), [])
    assert kept.SerializeToString(deterministic=True) == half.SerializeToString(deterministic=True)


@KINDS
def test_with_all_layers_it_is_the_float32_network(small_wave_bundle: Bundle, kind: str) -> None:
    exact, half = read(small_wave_bundle, kind)
    graph = float16_graph(half)
    constants = exact_constants(graph.constants, exact)
    kept = keep_in_float32(graph, constants, range(len(graph.layers)))
    assert not float16_graph(kept).tensors
    names = [value.name for value in exact.graph.output]
    given = inputs_of(exact)
    expected, output = session_call(exact)(given, names), session_call(kept)(given, names)
    for name in names:
        np.testing.assert_array_equal(output[name], expected[name])


@KINDS
@pytest.mark.parametrize("some", [[0], [1, 2], [3, 5], [7, 8]])
def test_it_computes_what_the_switches_say(
    small_wave_bundle: Bundle, kind: str, some: list[int]
) -> None:
    exact, half = read(small_wave_bundle, kind)
    graph = float16_graph(half)
    constants = exact_constants(graph.constants, exact)
    kept = keep_in_float32(graph, constants, some)
    given = inputs_of(exact)
    on = np.array([index not in some for index in range(len(graph.layers))])
    switched = session_call(with_switches(graph, constants))({**given, SWITCHES: on}, ["enhanced"])
    output = session_call(rounded(float16_graph(kept)))(given, ["enhanced"])
    assert snr_db(switched["enhanced"], output["enhanced"]) > 80  # other kernels, nothing else
    names = [graph.layers[index].name for index in some]
    left = [layer.name for layer in float16_graph(kept).layers]
    assert [layer.name for layer in graph.layers if layer.name not in names] == left


def test_casts_stand_at_the_borders_alone(small_wave_bundle: Bundle) -> None:
    """As strongly typed networks need it: the checker refuses any other type."""
    exact, half = read(small_wave_bundle, "core")
    graph = float16_graph(half)
    constants = exact_constants(graph.constants, exact)

    def casts(model: onnx.ModelProto) -> int:
        return sum(node.op_type == "Cast" for node in model.graph.node)

    inner = keep_in_float32(graph, constants, [3, 4])  # two context layers, one after the other
    assert casts(inner) == casts(half) + 2
    values = (*inner.graph.input, *inner.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    assert set(types.values()) == {TensorProto.FLOAT}
    weights = {t.name: t.data_type for t in inner.graph.initializer}
    assert weights["layers.context.1.weight.float32"] == TensorProto.FLOAT
    assert "layers.context.1.weight" not in weights
    assert weights["layers.context.2.weight"] == TensorProto.FLOAT16
