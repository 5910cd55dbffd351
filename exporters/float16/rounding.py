"""A float16 graph computed in float32 with explicit rounding.

ONNX Runtime has few float16 kernels for processors. It computes most float16 nodes in float32 and
drops the casts between them: weights are rounded there, values between layers are not, and nothing
overflows. TensorRT stores float16. Explicit rounding shows what that does.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.exporters.float16.graph import Float16Graph
from frcrn_export.exporters.graph_edits import copy_of, replace_nodes
from frcrn_export.runtime.arrays import Float32Array

# An input, bool [layers]. No tensor of a network begins with a dot.
SWITCHES = ".float16"
_AXIS = ".float16.axis"
# Operators that give values of their inputs, so that there is nothing to round.
_EXACT = frozenset(
    (
        *("Reshape", "Transpose", "Slice", "Concat", "Split", "Squeeze", "Unsqueeze", "Expand"),
        *("Gather", "Identity", "Flatten", "Tile", "Pad", "Relu", "Neg", "Abs", "Max", "Min"),
    )
)


def rounded(graph: Float16Graph) -> onnx.ModelProto:
    """The graph in float32, with every float16 value rounded as a float16 kernel stores it."""
    model = with_switches(graph, {})
    del model.graph.input[-1]
    on = np.ones(len(graph.layers), np.bool_)
    model.graph.initializer.append(numpy_helper.from_array(on, SWITCHES))
    return model


def with_switches(graph: Float16Graph, exact: Mapping[str, Float32Array]) -> onnx.ModelProto:
    """The graph in float32, with one more input `SWITCHES`: which layers are in float16.

    A layer in float16 rounds its constants, what it reads from other layers, and what it computes.
    With all switches on it is the float16 file, with all off the network in float32, its constants
    being `exact` as far as they are given.
    """
    model = in_float32(graph.model, exact)
    given = {c: value.astype(np.float32) for c, value in graph.constants.items()}
    constants: dict[str, npt.NDArray[Any]] = {_AXIS: np.array([0], np.int64)}
    nodes: list[onnx.NodeProto] = []
    for index in range(len(graph.layers)):
        constants[f".float16.{index}"] = np.array([index], np.int64)
        nodes.append(
            helper.make_node("Gather", [SWITCHES, f".float16.{index}"], [f".float16.{index}.on"])
        )
    made_by: dict[str, int] = {}
    chosen: set[str] = set()

    def choose(name: str, index: int, source: str, result: str) -> None:
        """`result`: `source`, rounded where the layer is in float16."""
        nodes.append(helper.make_node("Cast", [source], [f"{result}.half"], to=TensorProto.FLOAT16))
        nodes.append(
            helper.make_node(
                "Cast", [f"{result}.half"], [f"{result}.rounded"], to=TensorProto.FLOAT
            )
        )
        on = f".float16.{index}.on"
        nodes.append(helper.make_node("Where", [on, f"{result}.rounded", source], [result]))

    for node, owner in zip(model.graph.node, graph.owners, strict=True):
        if owner is None:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            outside = name in graph.tensors and made_by.get(name) != owner
            if outside or name in given:
                result = f"{name}.float16.{owner}"
                if result not in chosen:
                    chosen.add(result)
                    choose(name, owner, name, result)
                node.input[place] = result
        stored = [] if node.op_type in _EXACT else [n for n in node.output if n in graph.tensors]
        for place, name in enumerate(node.output):
            if name in graph.tensors:
                made_by[name] = owner
            if name in stored:
                node.output[place] = f"{name}.exact"
        nodes.append(node)
        for name in stored:
            choose(name, owner, f"{name}.exact", name)
    replace_nodes(model.graph, nodes, constants)
    size = [len(graph.layers)]
    model.graph.input.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, size))
    return model


def in_float32(model: onnx.ModelProto, exact: Mapping[str, Float32Array]) -> onnx.ModelProto:
    """The graph with every float16 type replaced by float32, and with these constants."""
    copied = copy_of(model)
    _to_float32(copied.graph, exact)
    return copied


def _to_float32(graph: onnx.GraphProto, exact: Mapping[str, Float32Array]) -> None:
    for value in graph.initializer:
        if value.data_type == TensorProto.FLOAT16:
            array = exact.get(value.name, numpy_helper.to_array(value).astype(np.float32))
            value.CopyFrom(numpy_helper.from_array(array, value.name))
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT16:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        node_to_float32(node, exact)


def node_to_float32(node: onnx.NodeProto, exact: Mapping[str, Float32Array]) -> None:
    """Replace the float16 types in a node's attributes and subgraphs, in place."""
    for attribute in node.attribute:
        is_type = attribute.name in ("to", "dtype") and attribute.type == onnx.AttributeProto.INT
        if is_type and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
        if attribute.type == onnx.AttributeProto.TENSOR:
            if attribute.t.data_type == TensorProto.FLOAT16:
                array = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
        elif attribute.type == onnx.AttributeProto.GRAPH:
            _to_float32(attribute.g, exact)
