"""The layers that two graphs of one network have in common."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from frcrn_export.exporters.graph_layers import GraphLayer, graph_layers
from frcrn_export.runtime.audio.measures import snr_db

# Weights in 8 bits have about 40 dB of SNR, those of another layer 0 dB.
_SAME_WEIGHT_DB = 10.0


@dataclass(frozen=True)
class LayerMatch:
    """A layer of the reference, and the tensors to compare in both graphs."""

    layer: GraphLayer
    expected: str
    output: str


@dataclass(frozen=True)
class LayerMatches:
    """The layers in common in the reference's order, and those of one graph alone."""

    matches: Sequence[LayerMatch]
    unmatched: Sequence[str]
    further: Sequence[str]


def match_layers(reference: onnx.ModelProto, other: onnx.ModelProto) -> LayerMatches:
    """Match layers by the names of their modules, nodes or outputs.

    Exporters number nodes, so that equal names may be different layers of two forms of a network:
    where both weights are constants they must agree.
    """
    graph = _Weights(other)
    weights = _Weights(reference)
    layers = graph_layers(other)
    by_name = {
        name: layer
        for layer in reversed(layers)
        for name in (layer.output, layer.node, layer.name)
        if name
    }
    matches, unmatched, found = [], [], set()
    for layer in graph_layers(reference):
        same = (by_name.get(name) for name in (layer.name, layer.node, layer.output))
        partner = next(
            (each for each in same if each and _agree(weights.of(layer), graph.of(each))), None
        )
        if partner is None or partner.output in found:
            unmatched.append(layer.name)
            continue
        found.add(partner.output)
        matches.append(LayerMatch(layer, layer.output, graph.dequantized(partner.output)))
    further = [layer.name for layer in layers if layer.output not in found]
    return LayerMatches(matches, unmatched, further)


def layers_read(model: onnx.ModelProto, outputs: Sequence[str]) -> list[list[int]]:
    """For each of these layers' outputs, the indices of those that its layer reads directly."""
    index_of = {name: index for index, name in enumerate(outputs)}
    behind: dict[str, frozenset[int]] = {}
    reads: list[list[int]] = [[] for _ in outputs]
    for node in model.graph.node:
        read = frozenset(chain.from_iterable(behind.get(name, ()) for name in node.input))
        for name in node.output:
            behind[name] = read
            if (index := index_of.get(name)) is not None:
                reads[index] = sorted(read)
                behind[name] = frozenset((index,))
    return reads


def _agree(one: npt.NDArray[np.floating] | None, other: npt.NDArray[np.floating] | None) -> bool:
    if one is None or other is None:
        return True
    if one.shape != other.shape:
        return False
    if not one.any():
        return not other.any()
    return snr_db(one.astype(np.float32), other.astype(np.float32)) > _SAME_WEIGHT_DB


class _Weights:
    """The constant weights of a graph's layers, dequantized."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._made_by = {name: node for node in model.graph.node for name in node.output}
        self._read_by: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._read_by.setdefault(name, []).append(node)
        self._constants: Mapping[str, onnx.TensorProto] = {
            tensor.name: tensor for tensor in model.graph.initializer
        }
        self._results = {value.name for value in model.graph.output}

    def of(self, layer: GraphLayer) -> npt.NDArray[np.floating] | None:
        """The weight of a layer, None where it is not constant."""
        node = self._made_by[layer.output]
        return None if len(node.input) < 2 else self._constant(node.input[1])

    def _constant(self, name: str) -> npt.NDArray[np.floating] | None:
        if (tensor := self._constants.get(name)) is not None:
            values: npt.NDArray[np.floating] = numpy_helper.to_array(tensor)
            return values if values.dtype.kind == "f" else None
        node = self._made_by.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        given = [self._constants.get(each) for each in node.input[:2]]
        if given[0] is None or given[1] is None:
            return None
        values, scale = (numpy_helper.to_array(each) for each in given if each is not None)
        if node.input[2:] and node.input[2] in self._constants:
            zero = numpy_helper.to_array(self._constants[node.input[2]])
        else:
            zero = np.zeros_like(scale)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [1] * values.ndim
        if scale.size > 1:
            shape[axis] = -1
        steps = values.astype(np.float32) - zero.astype(np.float32).reshape(shape)
        return steps * scale.astype(np.float32).reshape(shape)

    def dequantized(self, name: str) -> str:
        """A layer's output after its rounding to 8 bits, where nothing reads it before."""
        steps = ("QuantizeLinear", "DequantizeLinear")
        last = name
        for operator in steps:
            readers = list(self._readers(last))
            if len(readers) != 1 or readers[0].op_type != operator or last in self._results:
                return name
            last = readers[0].output[0]
        return last

    def _readers(self, name: str) -> Iterator[onnx.NodeProto]:
        yield from self._read_by.get(name, ())
