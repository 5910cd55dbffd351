"""What computes in float16 in an ONNX graph, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from frcrn_export.exporters.graph_layers import LAYER_TYPES, GraphLayer, graph_layers
from frcrn_export.runtime.arrays import Float32Array

Float16Array = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Float16Graph:
    """A graph, and which of its nodes compute in float16.

    Attributes:
        model: The graph; it is not changed.
        constants: The float16 constants by name.
        tensors: The names of the float16 tensors, without constants.
        float32: The names of the float32 tensors, without constants.
        layers: The layers that compute in float16, in the graph's order.
        owners: For each node of the graph the index of the layer it belongs to; None for nodes in
            other types, and for casts to and from float32. Every other node belongs to the last
            layer before it, the first ones to the layer after them.
    """

    model: onnx.ModelProto
    constants: Mapping[str, Float16Array]
    tensors: frozenset[str]
    float32: frozenset[str]
    layers: Sequence[GraphLayer]
    owners: Sequence[int | None]


def float16_graph(model: onnx.ModelProto) -> Float16Graph:
    """Find the float16 part of a graph.

    Raises onnx.shape_inference.InferenceError for a graph whose types contradict each other.
    """
    graph = model.graph
    constants = {
        value.name: numpy_helper.to_array(value)
        for value in graph.initializer
        if value.data_type == TensorProto.FLOAT16
    }
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    given = {value.name for value in graph.initializer}
    tensors, float32 = (
        frozenset(name for name, found in types.items() if found == kind and name not in given)
        for kind in (TensorProto.FLOAT16, TensorProto.FLOAT)
    )
    half = tensors.union(constants)
    computes = [
        node.op_type not in ("Cast", "Shape") and not half.isdisjoint((*node.input, *node.output))
        for node in graph.node
    ]
    own = {node.name for node, inside in zip(graph.node, computes, strict=True) if inside}
    layers = [layer for layer in graph_layers(model) if layer.node in own]
    index_of = {layer.output: index for index, layer in enumerate(layers)}
    return Float16Graph(
        model, constants, tensors, float32, layers, _owners(graph, computes, tensors, index_of)
    )


def _owners(
    graph: onnx.GraphProto,
    computes: Sequence[bool],
    tensors: frozenset[str],
    index_of: Mapping[str, int],
) -> list[int | None]:
    made_by: dict[str, int] = {}
    owners: list[int | None] = []
    for node, inside in zip(graph.node, computes, strict=True):
        owner: int | None = None
        if inside and node.op_type in LAYER_TYPES:
            owner = index_of[node.output[0]]
        elif inside:
            owner = max((made_by[name] for name in node.input if name in made_by), default=None)
        owners.append(owner)
        if owner is not None:
            made_by.update((name, owner) for name in node.output if name in tensors)
    read_by: dict[str, int] = {}
    for place in reversed(range(len(owners))):  # the nodes before the first layer
        node = graph.node[place]
        if computes[place] and owners[place] is None:
            readers = (read_by[name] for name in node.output if name in read_by)
            owners[place] = min(readers, default=None)
        if (found := owners[place]) is not None:
            for name in node.input:
                read_by[name] = min(found, read_by.get(name, found))
            made_by.update((name, found) for name in node.output)
    for place, node in enumerate(graph.node):  # what leaves from there without a layer: states
        if computes[place] and owners[place] is None and index_of:
            made = (made_by[name] for name in node.input if name in made_by)
            owners[place] = max(made, default=len(index_of) - 1)
            made_by.update((name, owners[place] or 0) for name in node.output)
    return owners


def exact_constants(
    constants: Mapping[str, Float16Array], float32: onnx.ModelProto
) -> dict[str, Float32Array]:
    """The values that were rounded to these constants, from the same network in float32.

    A constant of the same name is taken where it rounds to the same values, else the only one that
    does. Constants without one keep their rounded values.
    """
    known = {
        value.name: numpy_helper.to_array(value)
        for value in float32.graph.initializer
        if value.data_type == TensorProto.FLOAT
    }
    by_content: dict[tuple[tuple[int, ...], bytes], list[Float32Array]] = {}
    with np.errstate(over="ignore"):  # too large for float16: infinity there
        rounded = {name: value.astype(np.float16) for name, value in known.items()}
    for name, value in rounded.items():
        by_content.setdefault((value.shape, value.tobytes()), []).append(known[name])
    exact = {}
    for name, value in constants.items():
        if name in rounded and np.array_equal(rounded[name], value, equal_nan=True):
            exact[name] = known[name]
            continue
        found = by_content.get((value.shape, value.tobytes()), [])
        alone = len({each.tobytes() for each in found}) == 1
        exact[name] = found[0] if alone else value.astype(np.float32)
    return exact
