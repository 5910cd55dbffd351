"""The cost of an ONNX graph: operators, parameters, floating-point operations."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.graph_shapes import Shape, tensor_shapes
from frcrn_export.runtime.bundle.manifest import EXPORT_AGAIN
from frcrn_export.runtime.errors import reading

if TYPE_CHECKING:
    import onnx

_MOST_BYTES = 2**31 - 1  # of a protobuf message
_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class GraphCost:
    """Operators by kind, parameters, and floating-point operations at the asked sizes.

    One multiply-add counts as two operations. Counts convolutions, matrix products and recurrent
    layers; the rest is negligible. `flop` is None where their shapes do not follow from the sizes.
    """

    operators: dict[str, int]
    parameters: int
    flop: int | None


def graph_cost(path: Path, sizes: Mapping[str, int]) -> GraphCost:
    """Read a graph with its dynamic axes set to `sizes` (names as in the manifest).

    Raises BundleError for a file that cannot be read as an ONNX graph.
    """
    with reading(path, "not an ONNX graph", EXPORT_AGAIN):
        return cost_of(_read(path), sizes)


def cost_of(model: "onnx.ModelProto", sizes: Mapping[str, int]) -> GraphCost:
    """As `graph_cost`, of a graph in memory. Raises ValueError for an invalid graph."""
    if not model.graph.node:
        raise ValueError("no nodes")
    weights = [tuple(tensor.dims) for tensor in _weights(model.graph)]
    if any(dim < 0 for shape in weights for dim in shape):
        raise ValueError("a weight with a negative size")
    return GraphCost(
        operators=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        parameters=sum(map(prod, weights)),
        flop=_flop(model, sizes),
    )


def _weights(graph: "onnx.GraphProto") -> "Iterator[onnx.TensorProto]":
    """The weights of a graph and of its subgraphs, at any depth."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _subgraphs(attribute):
                yield from _weights(inner)


def _read(path: Path) -> "onnx.ModelProto":
    import onnx

    if path.stat().st_size > _MOST_BYTES:
        raise ValueError("larger than 2 GB")
    return onnx.load(path, load_external_data=False)


def _flop(model: "onnx.ModelProto", sizes: Mapping[str, int]) -> int | None:
    shapes = tensor_shapes(model, sizes)
    counts = [multiplications(node, shapes) for node in model.graph.node]
    known = [count for count in counts if count is not None]
    return 2 * sum(known) if len(known) == len(counts) else None


def multiplications(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> int | None:
    """The multiplications of a node; None where a shape is missing, or the operator unknown."""
    if node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
        return None
    if any(_counted_within(attribute) for attribute in node.attribute):
        return None  # shapes do not tell how often a loop runs, or which branch
    count = _COUNTS.get(node.op_type)
    if count is None:
        return 0
    try:
        return count(node, shapes)
    except KeyError:
        return None


def _counted_within(attribute: "onnx.AttributeProto") -> bool:
    """Whether a subgraph, at any depth, has layers that count."""
    return any(
        node.op_type in _COUNTS or any(map(_counted_within, node.attribute))
        for graph in _subgraphs(attribute)
        for node in graph.node
    )


def _subgraphs(attribute: "onnx.AttributeProto") -> "list[onnx.GraphProto]":
    return [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


_Count = Callable[["onnx.NodeProto", Mapping[str, Shape]], int]


def _convolution(weight: int) -> _Count:
    """Every output value takes one row of the weight, the input of this index."""

    def count(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> int:
        return prod(shapes[node.output[0]]) * prod(shapes[node.input[weight]][1:])

    return count


def _transposed(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> int:
    """Every input value goes into one row of the weight."""
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _product(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> int:
    rows_first = not any(a.name == "transA" and a.i for a in node.attribute)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1 if rows_first else 0]


def _recurrent(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> int:
    """Every step of every sequence takes all of W [D, G*H, I] and R [D, G*H, H]."""
    given, weight, recurrence = (shapes[name] for name in node.input[:3])
    return prod(given[:2]) * (prod(weight) + prod(recurrence))


def _einsum(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> int:
    """The sizes of all indices, for each factor after the first."""
    equation = next(a.s for a in node.attribute if a.name == "equation").decode()
    sizes: dict[str, int] = {}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    for term, name in zip(terms, node.input, strict=True):
        for index, size in zip(_indices(term, len(shapes[name])), shapes[name], strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return prod(sizes.values()) * (len(terms) - 1)


def _indices(term: str, axes: int) -> Iterator[str]:
    """The index of every axis; the axes of "..." are numbered by their distance from it."""
    head, dots, tail = term.partition("...")
    yield from head
    if dots:
        yield from (f"...{n}" for n in range(axes - len(head) - len(tail), 0, -1))
    yield from tail


_COUNTS: dict[str, _Count] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "DeformConv": _convolution(1),
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _product,
    "Einsum": _einsum,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
}
