"""What an ONNX graph holds and costs: operators, parameters, multiply-adds."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frcrn_export.runtime.bundle.manifest import EXPORT_AGAIN
from frcrn_export.runtime.errors import BundleError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class GraphCost:
    """Operators by kind, parameters, and floating-point operations at the asked sizes.

    One multiply-add counts as two operations; convolutions and matrix products are counted, the
    rest is small beside them.
    """

    operators: dict[str, int]
    parameters: int
    flop: int


def graph_cost(path: Path, sizes: dict[str, int]) -> GraphCost:
    """Read a graph with its dynamic axes set to `sizes` (names as in the manifest).

    Raises BundleError for a file that is no ONNX graph.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise BundleError(f"{path}: not an ONNX graph; {EXPORT_AGAIN}") from error
    fix_sizes(model, sizes)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = known_shapes(model.graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return GraphCost(
        operators=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        parameters=sum(prod(shape) for shape in weights.values()),
        flop=sum(_flop(node, shapes) for node in model.graph.node),
    )


def fix_sizes(model: "onnx.ModelProto", sizes: Mapping[str, int]) -> None:
    """Give the dynamic axes of a graph's inputs these sizes, and forget all other shapes."""
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = sizes[dim.dim_param]
    # Shapes that the exporter wrote are symbolic; those that follow from the sizes are not.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def known_shapes(graph: "onnx.GraphProto") -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that the graph gives one, by name."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return shapes


def _flop(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":  # every output value takes one row of the weight
        weight, out = shapes[node.input[1]], shapes[node.output[0]]
        return 2 * prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":  # every input value goes into one row of the weight
        weight, inp = shapes[node.input[1]], shapes[node.input[0]]
        return 2 * prod(inp) * prod(weight[1:])
    if node.op_type in ("MatMul", "Gemm"):
        inp, out = shapes[node.input[0]], shapes[node.output[0]]
        return 2 * prod(out) * inp[-1]
    return 0
