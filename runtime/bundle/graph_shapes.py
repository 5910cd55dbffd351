"""The shape of every tensor of an ONNX graph, once its dynamic axes have sizes.

Whole-graph inference loses what a graph computes from shapes: the target of a Reshape, the end of a
Slice. Here the nodes are visited in order, and small tensors that follow from the sizes are
computed.
"""

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]

# Shapes and indices have few values; larger tensors are signals or weights.
_MOST_VALUES = 1024
# Operators that compute shapes and indices, all in time linear in the number of values.
_COMPUTED = {
    *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Min", "Max", "Floor", "Ceil", "Round"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Not", "Where"),
    *("ReduceMin", "ReduceMax", "ReduceSum", "ReduceProd", "Range", "Constant", "ConstantOfShape"),
    *("Shape", "Size", "Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
    *("Concat", "Gather", "Slice", "Expand", "Transpose"),
}


def tensor_shapes(model: "onnx.ModelProto", sizes: Mapping[str, int]) -> dict[str, Shape]:
    """The shapes that follow from the `sizes` of the inputs' dynamic axes, by tensor.

    Leaves out tensors whose shape depends on the data, on an axis without a size, or on an operator
    that ONNX does not define.
    """
    found = {name: _shape(kind) for name, kind in _tensor_types(model, sizes).items()}
    return {name: shape for name, shape in found.items() if shape is not None}


def tensor_bytes(model: "onnx.ModelProto", sizes: Mapping[str, int]) -> dict[str, int]:
    """The bytes of every tensor whose shape follows from the sizes; see `tensor_shapes`."""
    from onnx import helper

    found = {}
    for name, kind in _tensor_types(model, sizes).items():
        if (shape := _shape(kind)) is not None:
            dtype = helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
            found[name] = prod(shape) * dtype.itemsize
    return found


def _tensor_types(
    model: "onnx.ModelProto", sizes: Mapping[str, int]
) -> "Mapping[str, onnx.TypeProto]":
    walk = _Walk(model)
    for value in model.graph.input:
        walk.add_input(value, sizes)
    for tensor in model.graph.initializer:
        walk.add_weight(tensor)
    for node in model.graph.node:
        walk.add_node(node)
    return walk.types


# Older definitions of these are functions, whose shapes onnx does not infer node by node.
_INFERRED_FROM = {"GreaterOrEqual": 16, "LessOrEqual": 16}


class _Walk:
    """The known types of tensors, and the values of small ones."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        self.types: dict[str, onnx.TypeProto] = {}
        self._values: dict[str, npt.NDArray[np.generic]] = {}
        self._opsets = list(model.opset_import)
        self._version = {entry.domain: entry.version for entry in model.opset_import}

    def add_input(self, value: "onnx.ValueInfoProto", sizes: Mapping[str, int]) -> None:
        from onnx import TypeProto

        kind = TypeProto()
        kind.CopyFrom(value.type)
        for dim in kind.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
        self.types[value.name] = kind

    def add_weight(self, tensor: "onnx.TensorProto") -> None:
        from onnx import TensorProto, helper, numpy_helper

        dims = tuple(tensor.dims)
        self.types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, dims)
        stored = tensor.data_location != TensorProto.EXTERNAL
        if stored and all(dim >= 0 for dim in dims) and prod(dims) <= _MOST_VALUES:
            self._values[tensor.name] = numpy_helper.to_array(tensor)

    def add_node(self, node: "onnx.NodeProto") -> None:
        from onnx import checker, defs, numpy_helper, shape_inference

        given = [name for name in node.input if name]
        version = self._version.get(node.domain)
        if version is not None:
            version = max(version, _INFERRED_FROM.get(node.op_type, 0))
        if version is None or not defs.has(node.op_type, version, node.domain):
            return
        if any(name not in self.types for name in given):
            return
        values = {name: self._values[name] for name in given if name in self._values}
        try:
            outputs = shape_inference.infer_node_outputs(
                defs.get_schema(node.op_type, version, node.domain),
                node,
                {name: self.types[name] for name in given},
                {name: numpy_helper.from_array(value, name) for name, value in values.items()},
                opset_imports=self._opsets,
            )
        except (shape_inference.InferenceError, checker.ValidationError):
            return
        if any(dim.dim_value < 0 for o in outputs.values() for dim in o.tensor_type.shape.dim):
            return  # the inference of a later node may abort the process on such a size
        self.types.update(outputs)
        if len(values) == len(set(given)) or node.op_type in ("Shape", "Size"):
            self._compute(node, outputs)

    def _compute(self, node: "onnx.NodeProto", outputs: Mapping[str, "onnx.TypeProto"]) -> None:
        """Keep the values of a node's outputs where they are few and follow from known values."""
        shapes = [_shape(kind) for kind in outputs.values()]
        if node.domain or node.op_type not in _COMPUTED:
            return
        if any(shape is None or prod(shape) > _MOST_VALUES for shape in shapes):
            return
        if node.op_type in ("Shape", "Size"):
            self._measure(node)
            return
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        inputs = [helper.make_value_info(n, self.types[n]) for n in dict.fromkeys(node.input) if n]
        results = [helper.make_value_info(name, kind) for name, kind in outputs.items()]
        graph = helper.make_graph([node], "node", inputs, results)
        alone = helper.make_model(graph, opset_imports=self._opsets)
        feeds = {value.name: self._values[value.name] for value in inputs}
        try:
            computed = ReferenceEvaluator(alone).run(None, feeds)
        except Exception:  # the evaluator may raise anything: then the values stay unknown
            return
        self._values.update(zip(outputs, map(np.asarray, computed), strict=True))

    def _measure(self, node: "onnx.NodeProto") -> None:
        shape = _shape(self.types[node.input[0]])
        if shape is None:
            return
        if node.op_type == "Size":
            self._values[node.output[0]] = np.asarray(prod(shape), np.int64)
            return
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        part = shape[bounds.get("start") : bounds.get("end")]
        self._values[node.output[0]] = np.asarray(part, np.int64)


def _shape(kind: "onnx.TypeProto") -> Shape | None:
    """The shape of a tensor's type if all of its axes are known."""
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    known = all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims)
    return tuple(dim.dim_value for dim in dims) if known else None
