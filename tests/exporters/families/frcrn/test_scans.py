import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.exporters.families.frcrn.scans import (
    outer_names,
    prefix_names,
    weights_into_scans,
)


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def weight(name: str, number: float = 1.0) -> onnx.TensorProto:
    return numpy_helper.from_array(np.full(1, number, np.float32), name)


def scan(body: onnx.GraphProto, source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Scan", [source], [target], body=body, num_scan_inputs=1)


def adding(name: str, *weights: str, own: tuple[onnx.TensorProto, ...] = ()) -> onnx.GraphProto:
    """A body that adds weights to its input, one after the other."""
    steps = [f"{name}.x", *(f"{name}.{i}" for i in range(len(weights)))]
    nodes = [
        helper.make_node("Add", [steps[i], each], [steps[i + 1]]) for i, each in enumerate(weights)
    ]
    return helper.make_graph(nodes, name, [value(steps[0])], [value(steps[-1])], own)


def model_of(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def names(graph: onnx.GraphProto) -> list[str]:
    return sorted(tensor.name for tensor in graph.initializer)


def body_of(node: onnx.NodeProto) -> onnx.GraphProto:
    return next(each.g for each in node.attribute if each.name == "body")


def run(model: onnx.ModelProto) -> list[float]:
    import onnxruntime

    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    output = np.asarray(session.run(None, {"x": np.zeros((2, 1), np.float32)})[0])
    return [float(each) for each in output.ravel()]


def test_what_scans_read_moves_into_each_of_them() -> None:
    nodes = [
        scan(adding("a", "one", "both", "outside"), "x", "m"),
        scan(adding("b", "both", "two"), "m", "n"),
        helper.make_node("Add", ["n", "outside"], ["y"]),
    ]
    weights = {"one": 1.0, "two": 10.0, "both": 100.0, "outside": 1000.0, "unread": 5.0}
    model = model_of(nodes, [weight(*item) for item in weights.items()])
    before = run(model)
    weights_into_scans(model.graph)
    first, second, _ = model.graph.node
    assert names(body_of(first)) == ["both", "one", "outside"]
    assert names(body_of(second)) == ["both", "two"]
    assert names(model.graph) == ["outside.outside", "unread"]
    assert run(model) == before == [2211.0, 2211.0]


def test_a_body_within_a_body_reads_through_it() -> None:
    inner = adding("inner", "deep")
    outer = adding("outer", "shallow")
    outer.node.append(scan(inner, "outer.0", "outer.y"))
    assert outer_names(outer) == {"deep", "shallow"}
    model = model_of([scan(outer, "x", "y")], [weight("deep"), weight("shallow")])
    weights_into_scans(model.graph)
    assert names(body_of(model.graph.node[0])) == ["deep", "shallow"]
    assert names(body_of(body_of(model.graph.node[0]).node[1])) == []


def test_a_name_that_a_body_has_itself_is_not_that_of_the_graph() -> None:
    body = adding("a", "one", own=(weight("one", 7.0),))
    model = model_of([scan(body, "x", "y")], [weight("one", 1.0)])
    weights_into_scans(model.graph)
    assert names(model.graph) == ["one"]
    (own,) = body_of(model.graph.node[0]).initializer
    assert numpy_helper.to_array(own).tolist() == [7.0]


def test_what_the_graph_gives_stays() -> None:
    """A weight that is an input, or an output, too."""
    model = model_of([scan(adding("a", "x", "y"), "x", "m")], [weight("x"), weight("y")])
    weights_into_scans(model.graph)
    assert names(model.graph) == ["x", "y"]


@pytest.mark.parametrize("name", ["", "add"])
def test_a_prefix_reaches_bodies_and_leaves_out_what_has_no_name(name: str) -> None:
    body = adding("a", "one")
    body.node[0].name = name
    model = model_of([scan(body, "x", "y")], [weight("one")])
    prefix_names(model.graph, "p_")
    (node,) = model.graph.node
    assert (node.input[0], node.output[0], names(model.graph)) == ("p_x", "p_y", ["p_one"])
    (add,) = body_of(node).node
    assert list(add.input) == ["p_a.x", "p_one"]
    assert add.name == (f"p_{name}" if name else "")
