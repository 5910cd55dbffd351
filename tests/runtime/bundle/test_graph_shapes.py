from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.runtime.bundle.graph_shapes import tensor_shapes


def int64(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(
    nodes: list[onnx.NodeProto],
    x: list[str | int],
    weights: list[onnx.TensorProto] = [],  # noqa: B006
    **given: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, **given)


def test_follows_what_a_graph_computes_from_shapes() -> None:
    """A Reshape and a Slice whose ends are computed from the length, as exporters write them."""
    node = helper.make_node
    graph = model(
        [
            node("Shape", ["x"], ["length"], start=2, end=3),
            node("Div", ["length", "hop"], ["frames"]),
            node("Concat", ["one", "frames", "hop"], ["target"], axis=0),
            node("Mul", ["frames", "hop"], ["whole"]),
            node("Slice", ["x", "zero", "whole", "last"], ["cut"]),
            node("Reshape", ["cut", "target"], ["y"]),
        ],
        ["batch", 1, "samples"],
        [int64("hop", 320), int64("one", 1), int64("zero", 0), int64("last", -1)],
    )
    shapes = tensor_shapes(graph, {"batch": 1, "samples": 16_100})
    assert shapes["cut"] == (1, 1, 16_000)
    assert shapes["y"] == (1, 50, 320)


def test_follows_what_is_computed_in_float() -> None:
    node = helper.make_node
    graph = model(
        [
            node("Shape", ["x"], ["size"]),
            node("Cast", ["size"], ["real"], to=TensorProto.FLOAT),
            node("Div", ["real", "three"], ["part"]),
            node("Ceil", ["part"], ["up"]),
            node("Cast", ["up"], ["count"], to=TensorProto.INT64),
            node("Expand", ["half", "count"], ["y"]),
        ],
        ["samples"],
        [
            numpy_helper.from_array(np.array([3.0], np.float32), "three"),
            numpy_helper.from_array(np.array([0.5], np.float32), "half"),
        ],
    )
    assert tensor_shapes(graph, {"samples": 10})["y"] == (4,)


@pytest.mark.parametrize(
    ("operator", "domain"), [("NonZero", ""), ("Mystery", ""), ("FusedConv", "com.microsoft")]
)
def test_what_does_not_follow_is_missing(operator: str, domain: str) -> None:
    nodes = [
        helper.make_node(operator, ["x"], ["a"], domain=domain),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    shapes = tensor_shapes(model(nodes, [2, 3], opset_imports=opsets), {})
    assert shapes == {"x": (2, 3)}


def test_an_axis_without_a_size_is_missing() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert tensor_shapes(model(nodes, ["batch", "frames"]), {"batch": 1}) == {}


def test_large_tensors_are_not_computed() -> None:
    """A foreign file may ask for any size: nothing of it is allocated."""
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["filled"]),
        helper.make_node("Add", ["filled", "filled"], ["y"]),
    ]
    graph = model(nodes, [1], [int64("huge", 2**20, 2**20)])
    assert tensor_shapes(graph, {})["y"] == (2**20, 2**20)


def test_a_node_of_inconsistent_types_is_missing() -> None:
    half = numpy_helper.from_array(np.zeros(3, np.float16), "half")
    graph = model([helper.make_node("Add", ["x", "half"], ["y"])], [3], [half])
    assert "y" not in tensor_shapes(graph, {})


def test_a_size_below_zero_ends_the_inference() -> None:
    """onnx aborts the process where the size of a Scan's rows is below zero."""
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1]) for name in "xy"]
    body = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "body", rows[:1], rows[1:])
    axes = {"scan_input_axes": [2], "scan_output_axes": [2]}
    nodes = [
        helper.make_node("ConvTranspose", ["in", "w"], ["c"], pads=[2**28, 1]),
        helper.make_node("Scan", ["c"], ["out"], body=body, num_scan_inputs=1, **axes),
    ]
    given, gives = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "n"])
        for name in ("in", "out")
    )
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3], [0.0] * 3)
    graph = helper.make_graph(nodes, "g", [given], [gives], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert "c" not in tensor_shapes(model, {"b": 1, "n": 9})
