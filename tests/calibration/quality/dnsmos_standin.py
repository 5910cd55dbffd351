"""A network of DNSMOS's shape that gives the window's peak, half of it and 1."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

WINDOW = 144_160


def write_dnsmos(path: Path, samples: int = WINDOW, scores: int = 3) -> Path:
    peak = helper.make_node("ReduceMax", ["audio", "axis"], ["peak"], keepdims=1)
    nodes = [peak, helper.make_node("Mul", ["peak", "scale"], ["scaled"])]
    nodes.append(helper.make_node("Add", ["scaled", "offset"], ["scores"]))
    factors = [1.0, 0.5, 0.0, 0.0][:scores]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scale", TensorProto.FLOAT, [1, scores], factors),
        helper.make_tensor("offset", TensorProto.FLOAT, [1, scores], [0.0, 0.0, 1.0, 0.0][:scores]),
    ]
    graph = helper.make_graph(
        nodes,
        "dnsmos",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", samples])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", scores])],
        constants,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path
