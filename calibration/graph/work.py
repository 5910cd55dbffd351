"""How much each layer of a graph computes, to say which share of it INT8 does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from frcrn_export.calibration.graph.edits import copy_of
from frcrn_export.runtime.bundle.graph_cost import fix_sizes, known_shapes

# One utterance of about a second, or what a streaming core is given at a time.
SIZES = {"batch": 1, "frames": 100, "samples": 16384}
LAYER_TYPES = ("Conv", "ConvTranspose", "MatMul", "Gemm")


@dataclass(frozen=True)
class Work:
    """`multiplications` of every convolution and matrix product, by node name; `values`: how many
    each tensor has, where that is known."""

    multiplications: Mapping[str, int]
    values: Mapping[str, int]


def measure_work(model: onnx.ModelProto, sizes: Mapping[str, int] = SIZES) -> Work:
    """What a graph has to do. `sizes` are those of the dynamic axes of the inputs.

    Raises ValueError where the shapes of a layer do not follow from them.
    """
    sized = _sized(model, sizes)
    shapes = known_shapes(sized.graph)
    multiplications = {
        node.name: _multiplications(node, shapes)
        for node in sized.graph.node
        if node.op_type in LAYER_TYPES
    }
    return Work(multiplications, {name: prod(shape) for name, shape in shapes.items()})


def multiplications(model: onnx.ModelProto, sizes: Mapping[str, int] = SIZES) -> Mapping[str, int]:
    """The multiplications of every convolution and matrix product, by node name; see above."""
    return measure_work(model, sizes).multiplications


def _multiplications(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    given, weight, out = (shapes.get(t, ()) for t in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":  # every output value takes one row of the weight
        count = prod(out) * prod(weight[1:])
    elif node.op_type == "ConvTranspose":  # every input value goes into one row of the weight
        count = prod(given) * prod(weight[1:])
    else:
        count = prod(out) * given[-1] if given else 0
    if not count or not out:
        raise ValueError(f"{node.name}: its shapes do not follow from those of the inputs")
    return count


def _sized(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """The graph with fixed sizes everywhere; for counting, not for running."""
    sized = copy_of(model)
    fix_sizes(sized, sizes)
    sized.graph.initializer.extend(_computed_shapes(sized.graph))
    return shape_inference.infer_shapes(sized, data_prop=True)


def _computed_shapes(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """What a graph computes from the shapes of its inputs, which shape inference does not follow.

    (Inference knows the values of Shape, but not what a Reshape makes of them.)
    """
    from onnx.reference import ReferenceEvaluator

    known = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.INT64
    }
    inputs = {value.name: value for value in graph.input}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in inputs:
            sizes = [d.dim_value for d in inputs[node.input[0]].type.tensor_type.shape.dim]
            attributes = {a.name: a.i for a in node.attribute}
            start, end = attributes.get("start", 0), attributes.get("end", len(sizes))
            values: list[Any] = [np.array(sizes[start:end], np.int64)]
        elif all(not name or name in known for name in node.input) and node.input:
            feeds = {name: known[name] for name in node.input if name}
            values = list(ReferenceEvaluator(node).run(None, feeds))
        else:
            continue
        for name, value in zip(node.output, values, strict=True):
            if value.dtype == np.int64:
                known[name] = value
                yield numpy_helper.from_array(value, name)
