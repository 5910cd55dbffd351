"""The layers of a graph that can compute in INT8, and those of them that should not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import onnx

from frcrn_export.calibration.graph.dtypes import CAPABILITIES
from frcrn_export.exporters.graph_layers import LAYER_TYPES
from frcrn_export.runtime.bundle import graph_cost
from frcrn_export.runtime.bundle.graph_shapes import Shape, tensor_shapes
from frcrn_export.runtime.bundle.manifest import Target

# One utterance of about a second, or one call of a streaming core.
SIZES = {"batch": 1, "frames": 100, "samples": 16384}


@dataclass(frozen=True)
class Work:
    """The work of a graph.

    `multiplications` of every convolution, matrix product and recurrent layer, by node name;
    `values`: the size of each tensor of known shape.
    """

    multiplications: Mapping[str, int]
    values: Mapping[str, int]


def measure_work(model: onnx.ModelProto, sizes: Mapping[str, int] = SIZES) -> Work:
    """Count the work of a graph. `sizes` are those of the inputs' dynamic axes.

    Raises ValueError where the shapes of a layer do not follow from them.
    """
    shapes = tensor_shapes(model, sizes)
    counts = {
        node.name: _multiplications(node, shapes)
        for node in model.graph.node
        if node.op_type in LAYER_TYPES
    }
    return Work(counts, {name: prod(shape) for name, shape in shapes.items()})


def multiplications(model: onnx.ModelProto, sizes: Mapping[str, int] = SIZES) -> Mapping[str, int]:
    """The multiplications of every layer, by node name; see `measure_work`."""
    return measure_work(model, sizes).multiplications


def _multiplications(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    if not (count := graph_cost.multiplications(node, shapes)):
        raise ValueError(f"{node.name}: its shapes do not follow from those of the inputs")
    return count


INT8_TYPES = ("Conv", "MatMul", "Gemm")

# Fewer channels than this fill no tensor core and no vector of a processor.
_NARROW = 16
_POOLING = ("ReduceMean", "GlobalAveragePool")
_GATES = ("Sigmoid", "Tanh")

Reason = Literal["first", "last", "mask", "gains", "narrow"]


@dataclass(frozen=True)
class Layer:
    """A Conv, or a MatMul or Gemm with a constant matrix, that can compute in INT8.

    `input`, `weight`, `bias` and `output` are tensor names; `multiplications` are counted at SIZES
    unless others are given. `kept` is the reason to keep the layer in float, or None.
    """

    name: str
    op_type: str
    input: str
    weight: str
    bias: str | None
    output: str
    multiplications: int
    kept: Reason | None

    @property
    def work(self) -> int:
        """The weight of its sensitivity in the search."""
        return self.multiplications


def quantizable(
    model: onnx.ModelProto, target: Target, sizes: Mapping[str, int] = SIZES
) -> list[Layer]:
    """The layers that gain from INT8 on a target, in the graph's order.

    Leaves out these of the layers that can (see `int8_layers`):
    - first: they read the input itself, whose dynamic range is far wider than 256 steps.
    - last: their output reaches the graph's without another layer, and so does every error.
    - mask: they feed a sigmoid or tanh that multiplies the signal.
    - gains: layers of means over the utterance, which take hardly any time.
    - narrow: fewer than 16 channels in or out of each group; they are memory-bound and gain
      nothing. (Depthwise ones gain on a processor, see dtypes.py.)
    """
    return [layer for layer in int8_layers(model, target, sizes) if layer.kept is None]


def int8_layers(
    model: onnx.ModelProto, target: Target, sizes: Mapping[str, int] = SIZES
) -> list[Layer]:
    """All layers that a target can compute in INT8, in the graph's order.

    Convolutions (for TensorRT those with one group, or a multiple of 4 channels in each) and
    products with a constant matrix of 2 axes, plus a constant bias. Recurrent layers and
    ConvTranspose stay in float; transposed.py turns the latter into convolutions.
    """
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    work = multiplications(model, sizes)
    reasons = _reasons(model.graph, weights, CAPABILITIES[target].depthwise)
    return [
        Layer(
            name=node.name,
            op_type=node.op_type,
            input=node.input[0],
            weight=node.input[1],
            bias=node.input[2] if len(node.input) > 2 and node.input[2] else None,
            output=node.output[0],
            multiplications=work[node.name],
            kept=reasons[node.name],
        )
        for node in model.graph.node
        if _can(node, weights, CAPABILITIES[target].group_multiple)
    ]


def _can(node: onnx.NodeProto, weights: Mapping[str, tuple[int, ...]], group_multiple: int) -> bool:
    if node.op_type not in INT8_TYPES or node.input[1] not in weights:
        return False
    shape = weights[node.input[1]]
    if node.op_type == "MatMul":
        return len(shape) == 2
    if node.op_type == "Gemm":
        return _is_plain(node) and all(len(weights.get(bias, ())) == 1 for bias in node.input[2:])
    groups = group_count(node)
    inputs, outputs = shape[1], shape[0] // groups
    return groups == 1 or (inputs % group_multiple == 0 and outputs % group_multiple == 0)


def _is_plain(gemm: onnx.NodeProto) -> bool:
    """Whether a Gemm is the product of its input and a matrix, plus a bias."""
    factors = [a.f for a in gemm.attribute if a.name in ("alpha", "beta")]
    return all(factor == 1.0 for factor in factors) and not _integer(gemm, "transA", 0)


def group_count(node: onnx.NodeProto) -> int:
    """The groups of a Conv or ConvTranspose."""
    return _integer(node, "group", 1)


def output_axis(node: onnx.NodeProto) -> int:
    """The axis of a weight that counts the outputs: of a Conv 0, of a matrix [K, N] 1."""
    return 0 if node.op_type == "Conv" or _integer(node, "transB", 0) else 1


def _integer(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def _is_depthwise(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    """Whether a convolution is depthwise, with many channels."""
    return shape[0] == group_count(node) >= _NARROW and node.op_type == "Conv"


def is_narrow(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    """Whether a layer with a weight of this shape has few channels in or out of each group."""
    if node.op_type == "Conv":
        return min(shape[1], shape[0] // group_count(node)) < _NARROW
    if node.op_type == "ConvTranspose":
        return min(shape[0] // group_count(node), shape[1]) < _NARROW
    return min(shape[-2:]) < _NARROW


def _reasons(
    graph: onnx.GraphProto, weights: Mapping[str, tuple[int, ...]], depthwise: bool
) -> dict[str, Reason | None]:
    deep, pooled = _deep(graph), _pooled(graph)
    last = _reaching(graph, {graph.output[0].name})
    gates = {name for node in graph.node if node.op_type in _GATES for name in node.input}
    mask = _reaching(graph, gates)
    reasons: dict[str, Reason | None] = {}
    for node in graph.node:
        if node.op_type not in LAYER_TYPES:
            continue
        shape = weights.get(node.input[1], (0, 0))
        narrow = is_narrow(node, shape)
        rules: tuple[tuple[Reason, bool], ...] = (
            ("first", node.input[0] not in deep),
            ("gains", node.input[0] in pooled),
            ("last", node.name in last),
            ("mask", node.name in mask),
            ("narrow", narrow and not (depthwise and _is_depthwise(node, shape))),
        )
        reasons[node.name] = next((reason for reason, holds in rules if holds), None)
    return reasons


def _deep(graph: onnx.GraphProto) -> set[str]:
    """The tensors behind at least one layer."""
    deep: set[str] = set()
    for node in graph.node:
        if node.op_type in LAYER_TYPES or any(name in deep for name in node.input):
            deep.update(node.output)
    return deep


def _pooled(graph: onnx.GraphProto) -> set[str]:
    """The tensors that depend on means, states and constants alone."""
    pooled: set[str] = set()
    signals = {graph.input[0].name}
    for node in graph.node:
        if node.op_type == "Shape":
            continue
        if any(name in signals for name in node.input) and node.op_type not in _POOLING:
            signals.update(node.output)
        elif node.op_type in _POOLING or any(name in pooled for name in node.input):
            pooled.update(node.output)
    return pooled


def _reaching(graph: onnx.GraphProto, goals: Collection[str]) -> set[str]:
    """The layers, by name, that reach one of these tensors without another layer between."""
    reaching = set(goals)
    layers: set[str] = set()
    for node in reversed(graph.node):
        if any(name in reaching for name in node.output):
            if node.op_type in LAYER_TYPES:
                layers.add(node.name)
            else:
                reaching.update(node.input)
    return layers
