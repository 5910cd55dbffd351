from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from frcrn_export.runtime.bundle.graph_cost import cost_of, graph_cost
from frcrn_export.runtime.errors import BundleError


def weight(name: str, *shape: int) -> onnx.TensorProto:
    size = 1
    for side in shape:
        size *= side
    return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.0] * size)


def test_counts_what_a_hand_would_count(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2]),  # [1, 4, 9] of 3 * 3 products
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("ConvTranspose", ["b", "v"], ["c"]),  # [1, 4, 9] times 2 * 5 products
        helper.make_node("MatMul", ["c", "m"], ["y"]),  # [1, 2, 13] @ [13, 7]
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "samples"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, 7])
    weights = [weight("w", 4, 3, 3), weight("v", 4, 2, 5), weight("m", 13, 7)]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(helper.make_model(graph), tmp_path / "g.onnx")
    cost = graph_cost(tmp_path / "g.onnx", {"batch": 1, "samples": 19})
    assert cost.operators == {"Conv": 1, "Relu": 1, "ConvTranspose": 1, "MatMul": 1}
    assert cost.parameters == 36 + 40 + 91
    assert cost.flop == 2 * (4 * 9 * 9 + 4 * 9 * 10 + 14 * 13)


def cost_of_one(
    node: onnx.NodeProto, inputs: dict[str, tuple[int, list[str | int]]], opset: int = 18
) -> int | None:
    """The operations of a graph of one node, all of whose tensors are inputs."""
    values = [helper.make_tensor_value_info(n, kind, s) for n, (kind, s) in inputs.items()]
    outputs = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in node.output]
    graph = helper.make_graph([node], "g", values, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return cost_of(model, {"batch": 2, "frames": 10}).flop


F32, I8, U8 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8
SCALE, ZERO = (F32, []), (U8, [])


@pytest.mark.parametrize(
    ("operator", "attributes", "inputs", "multiplications"),
    [
        ("Gemm", {"transA": 1}, {"a": (F32, [5, "batch"]), "b": (F32, [5, 7])}, 2 * 5 * 7),
        (
            "Einsum",
            {"equation": "...ct, cd -> ...dt"},
            {"a": (F32, ["batch", 3, 4, "frames"]), "b": (F32, [4, 5])},
            2 * 3 * 4 * 10 * 5,
        ),
        ("Einsum", {"equation": "ij->ji"}, {"a": (F32, [3, 4])}, 0),
        (
            "GRU",
            {"hidden_size": 6},
            {"x": (F32, ["frames", "batch", 4]), "w": (F32, [1, 18, 4]), "r": (F32, [1, 18, 6])},
            10 * 2 * 18 * (4 + 6),
        ),
        (
            "LSTM",
            {"hidden_size": 6, "direction": "bidirectional"},
            {"x": (F32, ["frames", "batch", 4]), "w": (F32, [2, 24, 4]), "r": (F32, [2, 24, 6])},
            10 * 2 * 2 * 24 * (4 + 6),
        ),
        ("ConvInteger", {}, {"x": (U8, ["batch", 3, "frames"]), "w": (I8, [4, 3, 3])}, 2 * 8 * 36),
        (
            "QLinearConv",
            {"group": 3},
            {
                **{"x": (U8, ["batch", 3, "frames"]), "xs": SCALE, "xz": ZERO},
                **{"w": (U8, [6, 1, 3]), "ws": SCALE, "wz": ZERO, "ys": SCALE, "yz": ZERO},
            },
            2 * 6 * 8 * 3,
        ),
        (
            "QLinearMatMul",
            {},
            {
                **{"a": (U8, ["batch", "frames", 4]), "as": SCALE, "az": ZERO},
                **{"b": (U8, [4, 5]), "bs": SCALE, "bz": ZERO, "ys": SCALE, "yz": ZERO},
            },
            2 * 10 * 4 * 5,
        ),
    ],
)
def test_every_layer_that_computes(
    operator: str,
    attributes: dict[str, object],
    inputs: dict[str, tuple[int, list[str | int]]],
    multiplications: int,
) -> None:
    node = helper.make_node(operator, list(inputs), ["y"], **attributes)
    assert cost_of_one(node, inputs) == 2 * multiplications


def test_fp16_counts_as_fp32_does() -> None:
    fp16 = TensorProto.FLOAT16
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    inputs: dict[str, tuple[int, list[str | int]]]
    inputs = {"x": (fp16, ["batch", 3, "frames"]), "w": (fp16, [4, 3, 3])}
    assert cost_of_one(node, inputs) == 2 * 2 * 4 * 8 * 9


def test_what_cannot_be_known_is_unknown() -> None:
    """Not zero: an axis without a size, an operator that is not ONNX's, a layer in a loop."""
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    assert cost_of_one(node, {"a": (F32, ["mystery", 3]), "b": (F32, [3, 4])}) is None
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")
    assert cost_of_one(node, {"x": (F32, [3])}) is None
    product = helper.make_node("MatMul", ["x", "x"], ["z"])
    body = helper.make_graph([product], "b", [], [helper.make_tensor_value_info("z", F32, [3, 3])])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    found = cost_of_one(node, {"c": (TensorProto.BOOL, []), "x": (F32, [3, 3])})
    assert found is None


def test_weights_of_subgraphs_are_parameters_too() -> None:
    node = helper.make_node("Add", ["x", "w"], ["z"])
    z = helper.make_tensor_value_info("z", F32, [5])
    inner = helper.make_graph([node], "inner", [], [z], [weight("w", 5)])
    branch = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    body = helper.make_graph([branch], "body", [], [z], [weight("v", 3)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=inner)
    graph = helper.make_graph([node], "g", [], [], [weight("u", 2)])
    assert cost_of(helper.make_model(graph), {}).parameters == 2 + (3 + 5 + 5) + 5


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    for content in (b"no graph at all", b""):
        (tmp_path / "g.onnx").write_bytes(content)
        with pytest.raises(
            BundleError, match=r"^\S+g\.onnx: not an ONNX graph .*frcrn-export onnx"
        ):
            graph_cost(tmp_path / "g.onnx", {})


def test_a_damaged_file_is_one_line_or_a_graph(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2]),
        helper.make_node("Reshape", ["a", "s"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "samples"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, 7])
    whole = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight("w", 4, 3, 3)]))
    content = whole.SerializeToString()
    rng = np.random.default_rng(0)
    lines = set()
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(len(damaged), size=3):
            damaged[place] = rng.integers(256)
        (tmp_path / "g.onnx").write_bytes(damaged)
        try:
            graph_cost(tmp_path / "g.onnx", {"batch": 1, "samples": 19})
        except BundleError as error:
            lines.add(str(error))
    assert lines
    assert not any("\n" in line or len(line) > 600 for line in lines)
