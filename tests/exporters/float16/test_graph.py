import numpy as np
import onnx
from onnx import numpy_helper

from frcrn_export.exporters.float16.graph import exact_constants, float16_graph
from frcrn_export.runtime.bundle.reader import Bundle


def test_every_float16_node_belongs_to_a_layer(small_wave_bundle: Bundle) -> None:
    graph = float16_graph(onnx.load(small_wave_bundle.path / "core.fp16.onnx"))
    names = [layer.name for layer in graph.layers]
    assert (len(names), names[0], names[-1]) == (9, "analysis", "synthesis")
    owner_of = {
        node.name: None if owner is None else names[owner]
        for node, owner in zip(graph.model.graph.node, graph.owners, strict=True)
    }
    assert owner_of["node__to_copy"] is None
    assert owner_of["node_log"] is None  # in float32
    assert owner_of["node_relu"] == "layers.encoder.0"
    assert owner_of["node_cat"] == "layers.decoder.0"
    assert {owner for owner in owner_of.values() if owner} == set(names)
    assert not graph.tensors.intersection(graph.constants)


def test_the_exact_constants_come_from_the_float32_file(small_wave_bundle: Bundle) -> None:
    graph = float16_graph(onnx.load(small_wave_bundle.path / "core.fp16.onnx"))
    float32 = onnx.load(small_wave_bundle.path / "core.onnx")
    known = {t.name: numpy_helper.to_array(t) for t in float32.graph.initializer}
    exact = exact_constants(graph.constants, float32)
    assert exact.keys() == graph.constants.keys()
    for name, values in exact.items():
        np.testing.assert_array_equal(values, known[name])
    for tensor in float32.graph.initializer:
        tensor.name = f"{tensor.name}.renamed"  # then their values tell
    by_value = exact_constants(graph.constants, float32)
    weight = "layers.context.1.weight"
    np.testing.assert_array_equal(by_value[weight], known[weight])


def test_a_constant_without_an_exact_one_keeps_its_value(small_wave_bundle: Bundle) -> None:
    float32 = onnx.load(small_wave_bundle.path / "core.onnx")
    constants = {"layers.out.bias": np.full(32, 7, np.float16), "one": np.float16(0.1)[None]}
    exact = exact_constants(constants, float32)
    np.testing.assert_array_equal(exact["layers.out.bias"], np.full(32, 7, np.float32))
    assert exact["one"].dtype == np.float32
