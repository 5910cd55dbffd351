from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from frcrn_export.runtime.bundle.graph_cost import graph_cost
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


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"no graph at all")
    with pytest.raises(BundleError, match="not an ONNX graph"):
        graph_cost(tmp_path / "g.onnx", {})
