"""Counting the multiplications of a graph's layers."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration.graph.layers import multiplications
from tests.calibration.graphs import masking_network, matrix_network


def test_counts_every_kind_of_layer() -> None:
    counts = multiplications(masking_network(), {"batch": 3, "samples": 80})
    assert counts["analysis"] == 3 * 10 * 32 * 8
    assert counts["squeeze"] == 3 * 16 * 48
    assert counts["depthwise"] == 3 * 10 * 48 * 3
    assert counts["grouped"] == 3 * 10 * 32 * 24
    assert counts["synthesis"] == 3 * 10 * 32 * 8
    assert multiplications(matrix_network(), {"batch": 2})["middle"] == 2 * 48 * 64


def test_follows_shapes_that_the_graph_computes() -> None:
    """As FRCRN does: the shape of a Reshape comes from arithmetic on the input's shape."""
    weight = np.zeros((16, 4, 1, 1), np.float32)
    constants = {"two": 2, "half": 2}
    nodes = [
        helper.make_node("Shape", ["spec"], ["n"], "shape", start=0, end=1),
        helper.make_node("Squeeze", ["n"], ["batch"], "squeeze"),
        helper.make_node("Mul", ["batch", "two"], ["items"], "mul"),
        helper.make_node("Reshape", ["items", "one"], ["first"], "reshape.1"),
        helper.make_node("Concat", ["first", "rest"], ["sizes"], "concat", axis=0),
        helper.make_node("Reshape", ["spec", "sizes"], ["pairs"], "reshape.2"),
        helper.make_node("Conv", ["pairs", "weight"], ["enhanced"], "conv"),
    ]
    initializers = [
        numpy_helper.from_array(weight, "weight"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([4, -1, 5], np.int64), "rest"),
        *(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()),
    ]
    spec = helper.make_tensor_value_info("spec", TensorProto.FLOAT, ["batch", 8, 5, "frames"])
    out = helper.make_tensor_value_info("enhanced", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "g", [spec], [out], initializers))
    counts = multiplications(model, {"batch": 3, "frames": 7})
    assert counts == {"conv": 6 * 16 * 7 * 5 * 4}


def test_a_shape_that_is_not_known() -> None:
    model = masking_network()
    model.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_param")
    with pytest.raises(ValueError, match="analysis: its shapes do not follow"):
        multiplications(model)
    assert isinstance(model, onnx.ModelProto)
