import numpy as np
import onnx
from onnx import numpy_helper

from frcrn_export.exporters.graph_edits import copy_of
from frcrn_export.exporters.graph_layers import graph_layers
from frcrn_export.exporters.layer_matches import layers_read, match_layers
from frcrn_export.runtime.bundle.reader import Bundle


def core(bundle: Bundle, name: str = "core.onnx") -> onnx.ModelProto:
    return onnx.load(bundle.path / name)


def test_a_float16_graph_has_every_layer_of_the_float32_one(small_wave_bundle: Bundle) -> None:
    for kind in ("core", "core.streaming"):
        exact = core(small_wave_bundle, f"{kind}.onnx")
        found = match_layers(exact, core(small_wave_bundle, f"{kind}.fp16.onnx"))
        assert [match.layer for match in found.matches] == graph_layers(exact)
        assert (found.unmatched, found.further) == ([], [])


def test_equal_names_with_other_weights_are_other_layers(small_wave_bundle: Bundle) -> None:
    exact = core(small_wave_bundle)
    other = copy_of(exact)
    for weight in other.graph.initializer:
        if weight.name == "layers.context.1.weight":
            values = numpy_helper.to_array(weight)[::-1].copy()
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    found = match_layers(exact, other)
    assert found.unmatched == ["layers.context.1"]
    assert found.further == ["layers.context.1"]


def test_a_layer_reads_the_layers_before_it(small_wave_bundle: Bundle) -> None:
    exact = core(small_wave_bundle)
    layers = graph_layers(exact)
    names = [layer.name for layer in layers]
    reads = layers_read(exact, [layer.output for layer in layers])
    read = {name: [names[i] for i in found] for name, found in zip(names, reads, strict=True)}
    assert read["analysis"] == []
    assert read["layers.encoder.0"] == ["analysis"]
    assert read["layers.context.1"] == ["layers.encoder.1", "layers.context.0"]  # a residual
    assert read["layers.out"] == ["layers.encoder.0", "layers.decoder.0"]  # a skip
    assert read["synthesis"] == ["analysis", "layers.out"]  # bands times mask
    # Layers that are left out are looked through.
    some = [layer.output for layer in layers if not layer.name.startswith("layers.context")]
    assert layers_read(exact, some)[3] == [2]


def test_weights_in_8_bits_are_dequantized(small_wave_bundle: Bundle) -> None:
    exact = core(small_wave_bundle)
    other = copy_of(exact)
    graph = other.graph
    for node in list(graph.node):
        if node.op_type != "Conv":
            continue
        name = node.input[1]
        weight = next(tensor for tensor in graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(weight)
        scale = (np.abs(values).max(axis=(1, 2)) / 127).astype(np.float32)
        steps = np.rint(values / scale[:, None, None]).astype(np.int8)
        graph.initializer.remove(weight)
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}.steps"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        inputs = [f"{name}.steps", f"{name}.scale"]
        graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", inputs, [name], axis=0))
    assert not match_layers(exact, other).unmatched
