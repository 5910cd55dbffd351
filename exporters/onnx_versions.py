"""The versions that an ONNX file asks of its reader: the lowest opset and IR that its graph needs.

An opset is a set of definitions of operators. Most newer definitions only add dtypes, or attributes
and inputs with a default: a node that uses none of them means the same under the older definition.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)
from onnx.defs import OpSchema, get_schema

from frcrn_export.exporters.graph_layers import SCOPES
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.errors import UserError

OPSET = 18  # of the exporter; files are written in the lowest that they need
LOWEST_OPSET = 11
# The first IR version of opset 15 and, like opset 11 to 18, of every ONNX Runtime since 1.9.
_IR_VERSION = 8

# The opset, from 11 on, since which a definition computes the same from the same inputs and
# attributes as in opset 19: the changes in between were read one by one. An operator that is not
# here keeps its definition.
_SAME_SINCE = {
    operator: opset
    for opset, operators in {
        11: "Abs Add And Atan BatchNormalization Cast Ceil Clip Concat ConstantOfShape Conv "
        "ConvTranspose Cos CumSum DepthToSpace Div Elu Equal Erf Exp Expand Flatten Floor GRU "
        "Gather GatherElements GatherND Gemm GlobalAveragePool Greater HardSigmoid Identity If "
        "InstanceNormalization LSTM LeakyRelu Less Log MatMul Max MaxPool Min Mod Mul Neg Not Or "
        "PRelu Pad RNN Range Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin "
        "ReduceProd ReduceSumSquare Relu Reshape Round Scan ScatterElements ScatterND Shape "
        "Sigmoid Sign Sin Slice Softplus Softsign Split Sqrt Sub Sum Tan Tanh Tile Transpose Where",
        12: "Einsum GreaterOrEqual LessOrEqual",
        13: "DequantizeLinear LogSoftmax Pow QuantizeLinear ReduceSum Softmax Squeeze Unsqueeze",
    }.items()
    for operator in operators.split()
}
# Of these the axes are an attribute before opset 18, an input since.
_REDUCTIONS = {name for name in _SAME_SINCE if name.startswith("Reduce")} - {"ReduceSum"}
_AXES_ARE_AN_INPUT = 18
_SPLIT_HAS_A_COUNT = 18  # of outputs, as an attribute, where it has no sizes

# The first ONNX Runtime that knows an opset; those of IR versions came no later.
_ONNXRUNTIME = {15: "1.9", 16: "1.11", 17: "1.12", 18: "1.14", 19: "1.15", 20: "1.17", 21: "1.18"}


class OpsetTooLow(UserError):
    """A graph needs a later opset than was asked for: `lowest`, or a later one."""

    def __init__(self, name: str, asked: int, needed: Mapping[str, int]) -> None:
        self.lowest = max(needed.values())
        ordered = sorted(needed.items(), key=lambda each: -each[1])
        operators = ", ".join(f"{operator} {opset}" for operator, opset in ordered)
        super().__init__(
            f"{name}: needs opset {self.lowest}, not {asked} ({operators}); "
            f"take --opset {self.lowest}, or leave it out for the lowest that each file needs"
        )


def opset_of(model: ModelProto) -> int:
    """The version of the standard operators in a model."""
    return next(int(each.version) for each in model.opset_import if each.domain == "")


def with_versions(entry: FileEntry, model: ModelProto) -> FileEntry:
    """The entry of an ONNX file with the versions that it needs."""
    opset = opset_of(model)
    known = [version for version in _ONNXRUNTIME if version >= opset]
    return msgspec.structs.replace(
        entry,
        opset=opset,
        ir_version=model.ir_version,
        min_onnxruntime=_ONNXRUNTIME[min(known)] if known else None,
    )


def check_opset(opset: int | None) -> None:
    """Raise UserError for an opset that files are never written in."""
    if opset is not None and not LOWEST_OPSET <= opset <= OPSET:
        raise UserError(
            f"opset {opset}: take --opset {LOWEST_OPSET} to {OPSET}, or leave it out for the "
            "lowest that each file needs"
        )


def lower_versions(model: ModelProto, name: str, opset: int | None = None) -> None:
    """Write a model in the lowest opset and IR version that it needs, or in `opset`; in place.

    What it computes is the same to the bit. Details of the exporter are removed from the nodes.

    Args:
        model: A model of a later opset.
        name: Of the file, for errors.
        opset: The opset to write, at most the model's.

    Raises:
        OpsetTooLow: A node needs a later one; names its operator.
        onnx.checker.ValidationError: The model was wrong before.
    """
    now = opset_of(model)
    nodes = list(_nodes(onnx.shape_inference.infer_shapes(model).graph, _Scope(), now))
    lowest = max((each.lowest for each in nodes), default=LOWEST_OPSET)
    if opset is not None and opset < lowest:
        needing = sorted((each.lowest, each.node.op_type) for each in nodes)
        needed = {operator: least for least, operator in needing if least > opset}
        raise OpsetTooLow(name, opset, needed)
    for typed in _nodes(model.graph, _Scope(), now):
        _rewrite(typed, now, opset or lowest)
    _drop_unused(model.graph)
    _forget_exporter(model.graph)
    _set_opset(model, opset or lowest)
    model.ir_version = max(_IR_VERSION, helper.find_min_ir_version_for(model.opset_import, True))
    onnx.checker.check_model(model, full_check=True)


def raise_opset(model: ModelProto, opset: int) -> None:
    """Write a model of `lower_versions` in a later opset, up to 19, for edits; in place.

    Raises ValueError for a node that would mean something else, as one of another exporter may.
    """
    now = opset_of(model)
    if now >= opset:
        return
    for typed in _nodes(model.graph, _Scope(), now):
        _require_same(typed.node, now, opset)
        _rewrite(typed, now, opset)
    _set_opset(model, opset)
    model.ir_version = max(
        model.ir_version, helper.find_min_ir_version_for(model.opset_import, True)
    )


class _Scope:
    """What the names of a graph stand for, those of the graphs around it included."""

    def __init__(self) -> None:
        self.dtypes: dict[str, int] = {}
        self.sizes: dict[str, tuple[int | None, ...]] = {}
        self.constants: dict[str, TensorProto] = {}

    def inner(self, graph: GraphProto) -> "_Scope":
        """The scope of a graph inside this one."""
        scope = _Scope()
        scope.dtypes.update(self.dtypes)
        scope.sizes.update(self.sizes)
        scope.constants.update(self.constants)
        for value in (*graph.value_info, *graph.input, *graph.output):
            tensor = value.type.tensor_type
            if tensor.elem_type:
                scope.dtypes[value.name] = tensor.elem_type
            scope.sizes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
            )
        for constant in graph.initializer:
            scope.dtypes[constant.name] = constant.data_type
            scope.sizes[constant.name] = tuple(constant.dims)
            scope.constants[constant.name] = constant
        return scope


@dataclass
class _Node:
    """A node, its graph and what its names stand for; `lowest` is the lowest opset it can be in."""

    node: NodeProto
    graph: GraphProto
    scope: _Scope
    lowest: int


def _nodes(graph: GraphProto, around: _Scope, now: int) -> Iterator[_Node]:
    """All nodes of a graph and of those inside it."""
    scope = around.inner(graph)
    for node in graph.node:
        yield _Node(node, graph, scope, _lowest(node, scope, now))
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _nodes(attribute.g, scope, now)


def _lowest(node: NodeProto, scope: _Scope, now: int) -> int:
    """The lowest opset in which a node of opset `now` means the same."""
    if node.domain not in ("", "ai.onnx"):
        return LOWEST_OPSET
    newest = get_schema(node.op_type, now)
    lowest: int = newest.since_version
    oldest = _SAME_SINCE.get(node.op_type, lowest)
    while lowest > oldest:
        older = get_schema(node.op_type, lowest - 1)
        if not _fits(node, scope, newest, older):
            break
        lowest = older.since_version
    return max(lowest, LOWEST_OPSET)


def _fits(node: NodeProto, scope: _Scope, newest: OpSchema, older: OpSchema) -> bool:
    """Whether an older definition takes the node's attributes, inputs and dtypes."""
    inputs = len(node.input)
    if node.op_type in _REDUCTIONS and newest.since_version >= _AXES_ARE_AN_INPUT:
        if inputs == 2 and _axes(node, scope.constants) is None:
            return False
        inputs = 1
    for attribute in node.attribute:
        if attribute.name in older.attributes:
            continue
        if not _changes_nothing(node, attribute, scope, newest):
            return False
    if inputs > older.max_input or len(node.output) > older.max_output:
        return False
    return all(_takes(older.inputs, node.input[:inputs], scope)) and all(
        _takes(older.outputs, node.output, scope)
    )


def _takes(parameters: Any, names: Any, scope: _Scope) -> Iterator[bool]:
    for index, name in enumerate(names):
        if name:
            # The last parameter may stand for any number of tensors.
            allowed = parameters[min(index, len(parameters) - 1)].types
            dtype = TensorProto.DataType.Name(scope.dtypes.get(name, 0)).lower()
            yield f"tensor({dtype})" in allowed


def _changes_nothing(
    node: NodeProto, attribute: AttributeProto, scope: _Scope, newest: OpSchema
) -> bool:
    """Whether an attribute that older definitions lack can be left out."""
    value = helper.get_attribute_value(attribute)
    if node.op_type == "Split" and attribute.name == "num_outputs":
        return _in_equal_parts(node, scope)
    if node.op_type == "Reshape" and attribute.name == "allowzero":
        shape = scope.constants.get(node.input[1])
        return value == 0 or (shape is not None and bool(numpy_helper.to_array(shape).all()))
    default = newest.attributes[attribute.name].default_value
    if default.type == AttributeProto.UNDEFINED:
        return False
    return bool(value == helper.get_attribute_value(default))


def _in_equal_parts(node: NodeProto, scope: _Scope) -> bool:
    """Whether a Split without sizes is known to give equal parts, all that older ones can."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    sizes = scope.sizes.get(node.input[0], ())
    size = sizes[axis] if -len(sizes) <= axis < len(sizes) else None
    return size is not None and size % len(node.output) == 0


def _axes(node: NodeProto, constants: Mapping[str, TensorProto]) -> list[int] | None:
    """The axes of a reduction with axes as an input; None where they are not constant."""
    if len(node.input) < 2 or not node.input[1]:
        return []
    constant = constants.get(node.input[1])
    if constant is None:
        return None
    return [int(axis) for axis in numpy_helper.to_array(constant)]


def _rewrite(typed: _Node, now: int, opset: int) -> None:
    """Write a node of opset `now` as opset `opset` has it."""
    node = typed.node
    if node.domain not in ("", "ai.onnx"):
        return
    schema = get_schema(node.op_type, opset)
    if node.op_type in _REDUCTIONS and now >= _AXES_ARE_AN_INPUT > opset:
        if axes := _axes(node, typed.scope.constants):
            node.attribute.append(helper.make_attribute("axes", axes))
        del node.input[1:]
    elif node.op_type in _REDUCTIONS and now < _AXES_ARE_AN_INPUT <= opset:
        for axes in (list(a.ints) for a in node.attribute if a.name == "axes"):
            name = f"{node.output[0]}.axes"
            constant = helper.make_tensor(name, TensorProto.INT64, [len(axes)], axes)
            typed.graph.initializer.append(constant)
            node.input.append(constant.name)
    elif node.op_type == "Split" and now < _SPLIT_HAS_A_COUNT <= opset and len(node.input) == 1:
        node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
    kept = [attribute for attribute in node.attribute if attribute.name in schema.attributes]
    del node.attribute[:]
    node.attribute.extend(kept)


def _require_same(node: NodeProto, now: int, opset: int) -> None:
    if node.domain in ("", "ai.onnx"):
        older, newer = (get_schema(node.op_type, each).since_version for each in (now, opset))
        if older != newer and now < _SAME_SINCE.get(node.op_type, newer):
            raise ValueError(f"a {node.op_type} of opset {now}, which opset {opset} has no more")


def _drop_unused(graph: GraphProto) -> None:
    """Remove the constants that no node reads any more."""
    read = {value.name for value in graph.output} | set(_read(graph))
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _read(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _drop_unused(attribute.g)
                yield from (value.name for value in attribute.g.output)
                yield from _read(attribute.g)


def _forget_exporter(graph: GraphProto) -> None:
    """Remove the metadata of nodes and values, which came with IR 10.

    The modules of nodes stay, which name layers; older readers skip the field.
    """
    graph.ClearField("metadata_props")
    for each in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        each.ClearField("metadata_props")
    for node in graph.node:
        kept = [each for each in node.metadata_props if each.key == SCOPES]
        node.ClearField("metadata_props")
        node.metadata_props.extend(kept)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _forget_exporter(attribute.g)


def _set_opset(model: ModelProto, opset: int) -> None:
    for each in model.opset_import:
        if not each.domain:
            each.version = opset
