"""The work of the nodes of a core: multiplications, and the channels that tensor cores see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.graph_cost import multiplications
from frcrn_export.runtime.bundle.graph_shapes import Shape, tensor_shapes

if TYPE_CHECKING:
    import onnx

_LAYERS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "GRU", "LSTM", "RNN")


@dataclass(frozen=True)
class NodeWork:
    """Of one layer; None where its shapes do not follow from those of the inputs."""

    multiplications: int | None
    channels: tuple[int, int] | None


def node_work(model: "onnx.ModelProto", shapes: Mapping[str, Shape]) -> dict[str, NodeWork]:
    """The work of each convolution, matrix product and recurrent layer, by node name.

    `shapes` are those of the inputs. Channels are those of one group, input and output; a matrix
    product has its inner size and its columns.
    """
    sizes = {
        dim.dim_param: size
        for value in model.graph.input
        for dim, size in zip(
            value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False
        )
        if dim.dim_param
    }
    known = tensor_shapes(model, sizes)
    return {
        node.name: NodeWork(multiplications(node, known), _channels(node, known))
        for node in model.graph.node
        if node.op_type in _LAYERS
    }


def _channels(node: "onnx.NodeProto", shapes: Mapping[str, Shape]) -> tuple[int, int] | None:
    weight = shapes.get(node.input[1]) if len(node.input) > 1 else None
    if weight is None or len(weight) < 2 or 0 in weight:
        return None
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Conv":
        return weight[1], weight[0] // attributes.get("group", 1)
    if node.op_type == "ConvTranspose":
        return weight[0] // attributes.get("group", 1), weight[1]
    if node.op_type == "MatMul":
        return weight[-2], weight[-1]
    if node.op_type == "Gemm":
        return (weight[1], weight[0]) if attributes.get("transB") else (weight[0], weight[1])
    return None
