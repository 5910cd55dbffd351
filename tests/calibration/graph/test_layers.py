"""Which layers can compute in INT8, and which had better not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration.graph.layers import int8_layers, multiplications, quantizable
from frcrn_export.runtime.bundle.manifest import Target
from tests.calibration.graphs import gemm_network, masking_network, matrix_network
from tests.recurrent_networks import mask_network, offline_onnx


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


def test_every_reason_to_keep_a_layer_as_it_is() -> None:
    found = {layer.name: layer.kept for layer in int8_layers(masking_network(), "cpu")}
    assert found == {
        "analysis": "first",
        "encoder": None,
        "squeeze": "gains",
        "excite": "gains",
        "depthwise": None,
        "grouped": None,
        "parallel": None,
        "mask": "mask",
    }


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
def test_quantizable_are_those_without_a_reason(target: Target) -> None:
    names = [layer.name for layer in quantizable(masking_network(), target)]
    depthwise = ["depthwise"] * (target == "cpu")  # for TensorRT they are no layers of INT8 at all
    assert names == ["encoder", *depthwise, "grouped", "parallel"]


def test_recurrent_layers_count_and_stay_float() -> None:
    """They stand between layers, of which the one before them is not the last."""
    model = offline_onnx(mask_network())
    counts = multiplications(model, {"batch": 2, "frames": 10})
    (gru,) = [node.name for node in model.graph.node if node.op_type == "GRU"]
    assert counts[gru] == 2 * 10 * 3 * 24 * (32 + 24)
    found = [layer.kept for layer in int8_layers(model, "cpu")]
    assert found == ["first", None, None, "last"]


def test_a_gru_makes_the_layer_before_it_no_mask() -> None:
    weight = np.zeros((16, 16, 1), np.float32)
    gates = np.zeros((1, 48, 16), np.float32)
    nodes = [
        helper.make_node("Conv", ["spec", "weight"], ["a"], "first"),
        helper.make_node("Conv", ["a", "weight"], ["b"], "second"),
        helper.make_node("Transpose", ["b"], ["steps"], "steps", perm=[2, 0, 1]),
        helper.make_node("GRU", ["steps", "gates", "gates"], ["h"], "gru", hidden_size=16),
        helper.make_node("Sigmoid", ["h"], ["enhanced"], "sigmoid"),
    ]
    initializers = [numpy_helper.from_array(weight, "weight")]
    initializers += [numpy_helper.from_array(gates, "gates")]
    spec = helper.make_tensor_value_info("spec", TensorProto.FLOAT, ["batch", 16, "frames"])
    out = helper.make_tensor_value_info("enhanced", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "g", [spec], [out], initializers))
    assert [layer.kept for layer in int8_layers(model, "cpu")] == ["first", None]


def test_tensorrt_has_rules_for_groups() -> None:
    model = masking_network()
    assert "depthwise" not in {layer.name for layer in int8_layers(model, "tensorrt")}
    grouped = next(node for node in model.graph.node if node.name == "grouped")
    weight = next(t for t in model.graph.initializer if t.name == "grouped.weight")
    assert "grouped" in {layer.name for layer in int8_layers(model, "tensorrt")}
    # 6 channels in and 4 out of each of 8 groups.
    next(a for a in grouped.attribute if a.name == "group").i = 8
    weight.CopyFrom(onnx.helper.make_tensor(weight.name, 1, [32, 6, 1], [0.5] * 192))
    assert "grouped" not in {layer.name for layer in int8_layers(model, "tensorrt")}
    assert "grouped" in {layer.name for layer in int8_layers(model, "cpu")}


def test_a_layer_knows_its_tensors_and_its_work() -> None:
    model = masking_network()
    sizes = {"batch": 2, "samples": 800}  # 100 steps of 8
    encoder = next(x for x in int8_layers(model, "cpu", sizes) if x.name == "encoder")
    assert (encoder.op_type, encoder.input, encoder.output) == ("Conv", "shared", "encoder.out")
    assert (encoder.weight, encoder.bias) == ("encoder.weight", "encoder.bias")
    assert encoder.multiplications == 2 * 100 * 48 * 32 * 3
    assert encoder.multiplications == multiplications(model, sizes)["encoder"]


def test_products_with_one_matrix_alone() -> None:
    found = {layer.name: layer.kept for layer in int8_layers(matrix_network(), "tensorrt")}
    assert found == {"first": "first", "middle": None}  # `last` has a stack of matrices


def test_a_gemm_is_a_layer_where_it_is_a_product_and_a_bias() -> None:
    model = gemm_network()
    found = {layer.name: layer for layer in int8_layers(model, "cpu")}
    assert {name: layer.kept for name, layer in found.items()} == {
        "first": "first",
        "second": None,
        "third": "last",
    }
    assert (found["second"].bias, found["third"].bias) == ("two.bias", None)
    assert found["second"].multiplications == 64 * 48

    def others(name: str, value: float) -> list[str]:
        changed = gemm_network()
        second = next(node for node in changed.graph.node if node.name == "second")
        second.attribute.append(helper.make_attribute(name, value))
        return [layer.name for layer in int8_layers(changed, "cpu")]

    assert others("alpha", 1.0) == ["first", "second", "third"]
    assert others("alpha", 0.5) == others("beta", 0.0) == ["first", "third"]
    second = next(node for node in model.graph.node if node.name == "second")
    second.input[2] = "row"  # a bias that is computed
    assert [layer.name for layer in int8_layers(model, "cpu")] == ["first", "third"]


def test_a_state_that_is_fed_back_makes_no_layer_the_first() -> None:
    """A streaming core's layers read states, which are inputs, beside what came through layers."""
    model = masking_network()
    state = onnx.helper.make_tensor_value_info("state", 1, ["batch", 32, 2])
    model.graph.input.append(state)
    index = next(i for i, node in enumerate(model.graph.node) if node.name == "encoder")
    encoder = model.graph.node[index]
    encoder.input[0] = "both"
    next(a for a in encoder.attribute if a.name == "pads").ints[:] = [0, 0]
    concat = onnx.helper.make_node("Concat", ["state", "shared"], ["both"], "concat", axis=2)
    model.graph.node.insert(index, concat)
    found = {layer.name: layer.kept for layer in int8_layers(model, "cpu")}
    assert found["encoder"] is None
