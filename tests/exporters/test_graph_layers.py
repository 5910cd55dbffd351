import onnx
from onnx import TensorProto, helper

from frcrn_export.exporters.graph_layers import graph_layers
from frcrn_export.runtime.bundle.reader import Bundle


def test_layers_have_the_names_of_their_modules(small_wave_bundle: Bundle) -> None:
    layers = graph_layers(onnx.load(small_wave_bundle.path / "core.onnx"))
    assert [(layer.name, layer.op_type) for layer in layers] == [
        ("analysis", "Conv"),
        ("layers.encoder.0", "Conv"),
        ("layers.encoder.1", "Conv"),
        *((f"layers.context.{i}", "Conv") for i in range(3)),
        ("layers.decoder.0", "ConvTranspose"),
        ("layers.out", "ConvTranspose"),
        ("synthesis", "ConvTranspose"),
    ]


def test_a_module_that_runs_twice_is_numbered_and_others_have_their_nodes_name() -> None:
    weights = ("part.linear.weight", "part.linear.weight.float32", "part.weights")
    nodes = [
        helper.make_node("MatMul", ["x", name], [f"y{i}"], f"node{i}")
        for i, name in enumerate(weights)
    ]
    model = helper.make_model(
        helper.make_graph(
            [*nodes, helper.make_node("Relu", ["y0"], ["z"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 2])],
        )
    )
    names = [(layer.name, layer.output) for layer in graph_layers(model)]
    assert names == [("part.linear #1", "y0"), ("part.linear #2", "y1"), ("node2", "y2")]
