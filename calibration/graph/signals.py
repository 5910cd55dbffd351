"""The signals of a graph that ONNX Runtime can keep in uint8 on a processor.

A signal is a set of tensors that share one quantization scale: the output of a convolution or a
sum, and its copies, slices and concatenations, which are then copies of bytes. The output of a ReLU
and of a mask belongs to it too: it keeps the scale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from frcrn_export.calibration.graph.layers import (
    SIZES,
    Layer,
    measure_work,
    quantizable,
)
from frcrn_export.exporters.graph_layers import LAYER_TYPES, RECURRENT

RECTIFIERS = ("Relu", "LeakyRelu")
SUMS = ("Add", "Sub")
# The first input of these is data; of Concat, all.
_MOVES = ("Transpose", "Reshape", "Split", "Slice", "Gather", "Squeeze", "Unsqueeze", "Pad")

# The cost in INT8 multiplications of a value that goes through float32, and of a float32
# multiplication; measured with ONNX Runtime on a processor with VNNI (see benchmarks/README.md).
_FLOAT_VALUE, _FLOAT_MULTIPLICATION = 250, 4
# The cost of the operators around a float32 signal of any size: about six, of two microseconds
# each. In a stream this dominates.
_FLOAT_SIGNAL = 4_000_000


@dataclass(frozen=True)
class Signal:
    """Tensors with one scale, in the graph's order; `name` is the first of them.

    `observed`: the tensors that hold all of its values. `hidden`: those that only a ReLU reads.
    `layers`: those that write it, and compute in INT8 if it is in uint8. `work`: what uint8 saves,
    in INT8 multiplications, at layers.SIZES.
    """

    name: str
    tensors: tuple[str, ...]
    observed: tuple[str, ...]
    hidden: frozenset[str]
    layers: tuple[str, ...]
    work: int


def find_signals(model: onnx.ModelProto, sizes: Mapping[str, int] = SIZES) -> list[Signal]:
    """The signals that a layer worth computing in INT8 reads or writes, and their sums.

    In the graph's order. Excludes the values of the graph's first input and output, and the states
    of recurrent layers, in which rounding errors would accumulate.
    """
    graph = model.graph
    sources = copied_from(graph)
    group = _groups(graph, sources)
    floats = {graph.input[0].name, graph.output[0].name, *_recurrent_states(graph)}
    outside = {group.get(name) for name in floats}
    layers = [x for x in quantizable(model, "cpu", sizes) if group[x.input] not in outside]
    wanted = {group[name] for layer in layers for name in (layer.input, layer.output)} - outside
    wanted |= _sums(graph, sources, group, wanted) - outside
    members: dict[str, list[str]] = {}
    for name in _computed(graph):
        if group[name] in wanted:
            members.setdefault(group[name], []).append(name)
    hidden = _hidden(graph, sources)
    rectified = {
        name
        for node in graph.node
        if node.op_type in RECTIFIERS and node.input[0] in hidden
        for name in node.output
    }
    work = _Work(model, layers, sizes)
    return [
        Signal(
            name=tensors[0],
            tensors=tuple(tensors),
            observed=tuple(
                name
                for name in tensors
                if name not in hidden and (name not in sources or name in rectified)
            ),
            hidden=frozenset(hidden.intersection(tensors)),
            layers=tuple(layer.name for layer in layers if layer.output in tensors),
            work=work.saved(tensors),
        )
        for tensors in members.values()
    ]


def copied_from(graph: onnx.GraphProto) -> dict[str, list[str]]:
    """For each tensor that a node copies, perhaps through a ReLU or mask, its source tensors."""
    masks = find_masks(graph)
    found: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type == "Concat":
            sources = list(node.input)
        elif node.op_type in (*_MOVES, *RECTIFIERS):
            sources = [node.input[0]]
        elif node.op_type == "Mul" and len(masks.intersection(node.input)) == 1:
            sources = [name for name in node.input if name not in masks]
        else:
            continue
        found.update((name, sources) for name in node.output)
    return found


def find_masks(graph: onnx.GraphProto) -> set[str]:
    """The tensors of ones and zeros: booleans cast to numbers."""
    truths: set[str] = set()
    masks: set[str] = set()
    for node in graph.node:
        if node.op_type in ("And", "Less", "GreaterOrEqual"):
            truths.update(node.output)
        of_truth = node.op_type == "Cast" and node.input[0] in truths
        if of_truth or (node.op_type in _MOVES and node.input[0] in masks):
            masks.update(node.output)
    return masks


def _recurrent_states(graph: onnx.GraphProto) -> Iterable[str]:
    """The input and output states of GRUs and LSTMs."""
    for node in graph.node:
        if node.op_type in RECURRENT:
            yield from (*node.input[5:7], *node.output[1:])


def _computed(graph: onnx.GraphProto) -> Iterable[str]:
    """Inputs of the graph and outputs of its nodes, in its order."""
    yield from (value.name for value in graph.input)
    for node in graph.node:
        yield from (name for name in node.output if name)


def _groups(graph: onnx.GraphProto, sources: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For each tensor, the first tensor of its signal."""
    parent = {name: name for name in _computed(graph)}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    order = {name: index for index, name in enumerate(parent)}
    for name in parent:
        for source in sources.get(name, ()):
            if source in parent:
                first, second = sorted((root(source), root(name)), key=order.__getitem__)
                parent[second] = first
    return {name: root(name) for name in parent}


def _sums(
    graph: onnx.GraphProto,
    sources: Mapping[str, Sequence[str]],
    group: Mapping[str, str],
    wanted: Collection[str],
) -> set[str]:
    """The signals that are sums of wanted ones, except those that only float32 layers read."""
    made = set(wanted)
    for node in graph.node:
        if node.op_type in SUMS and all(group.get(name) in made for name in node.input):
            made.add(group[node.output[0]])
    read = set(wanted)
    for node in reversed(graph.node):
        output = node.output[0]
        ends = node.op_type in SUMS and group[output] in made - read
        if not (ends or node.op_type in LAYER_TYPES or output in sources):
            read.update(group[name] for name in node.input if name in group)
    return made & read


def _hidden(graph: onnx.GraphProto, sources: Mapping[str, Sequence[str]]) -> set[str]:
    """The tensors that reach only ReLUs, through any copies."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    hidden: set[str] = set()
    results = {value.name for value in graph.output}

    def hides(node: onnx.NodeProto) -> bool:
        return node.op_type in RECTIFIERS or (
            node.output[0] in sources and hidden.issuperset(node.output)
        )

    for node in reversed(graph.node):
        for name in node.output:
            if name in readers and name not in results and all(map(hides, readers[name])):
                hidden.add(name)
    return hidden


class _Work:
    """The work that uint8 saves over float32."""

    def __init__(
        self, model: onnx.ModelProto, layers: Sequence[Layer], sizes: Mapping[str, int]
    ) -> None:
        self._values = measure_work(model, sizes).values
        self._written: dict[str, int] = {}
        self._read: dict[str, int] = {}
        for layer in layers:
            self._written[layer.output] = layer.multiplications
            self._read[layer.input] = self._read.get(layer.input, 0) + layer.multiplications

    def saved(self, tensors: Sequence[str]) -> int:
        """Its writers compute in INT8; its readers need one pass instead of two."""
        saved = _FLOAT_SIGNAL
        for name in tensors:
            saved += (_FLOAT_MULTIPLICATION - 1) * self._written.get(name, 0)
            saved += self._read.get(name, 0)
            saved += _FLOAT_VALUE * self._values.get(name, 0)
        return saved
