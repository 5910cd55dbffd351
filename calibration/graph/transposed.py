"""Transposed convolutions over one axis as convolutions, which can compute in INT8.

A transposed convolution of stride s adds value t of its input to outputs s*t, s*t + 1, and so on,
each through a tap of its own. So the outputs s*m + r are a convolution with every s-th tap from r
on. One convolution with s times the channels computes all s phases; its outputs are interleaved.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from frcrn_export.calibration.graph.layers import group_count, is_narrow
from frcrn_export.exporters.graph_edits import copy_of, replace_nodes

Array = npt.NDArray[Any]

# A Slice's value for "to the end", or larger.
_END = (1 << 31) - 1


def lower_transposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with ConvTranspose over one axis as Conv and interleave; equal up to rounding.

    What a Slice after one cuts off is not computed, and a ReLU moves before the interleave, where
    it is free. Nodes and tensors keep their names, lengths stay dynamic.

    Unchanged are narrow layers (see layers.py), such as the synthesis of a waveform, which would
    gain nothing, and groups, dilation and two axes, which no core of ours has.
    """
    lowered = copy_of(model)
    graph = lowered.graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    results = {value.name for value in graph.output}
    made: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()  # outputs of nodes merged into another
    for node in graph.node:
        if node.output[0] in done:
            continue
        if not _can(node, arrays):
            nodes.append(node)
            continue
        tail = _tail(node, readers, results, arrays)
        nodes.extend(_ordinary(node, tail, arrays, made))
        done |= tail.absorbed
    replace_nodes(graph, nodes, made)
    return lowered


def _can(node: onnx.NodeProto, arrays: Mapping[str, Array]) -> bool:
    if node.op_type != "ConvTranspose" or node.input[1] not in arrays:
        return False
    weight = arrays[node.input[1]]
    one_axis = weight.ndim == 3 and group_count(node) == 1 and _attribute(node, "dilations", 1) == 1
    return one_axis and not is_narrow(node, weight.shape)


@dataclass
class _Tail:
    """The nodes after a transposed convolution that it absorbs; `result` is their output."""

    result: str
    absorbed: set[str]
    cut: tuple[int, int] = (0, 0)
    relu: bool = False


def _tail(
    node: onnx.NodeProto,
    readers: Mapping[str, list[onnx.NodeProto]],
    results: set[str],
    arrays: Mapping[str, Array],
) -> _Tail:
    tail = _Tail(node.output[0], set())
    while tail.result not in results and len(readers.get(tail.result, [])) == 1 and not tail.relu:
        behind = readers[tail.result][0]
        if behind.op_type == "Relu":
            tail.relu = True
        elif (cut := _cut(behind, arrays)) is not None:
            tail.cut = (tail.cut[0] + cut[0], tail.cut[1] + cut[1])
        else:
            break
        tail.result = behind.output[0]
        tail.absorbed.add(tail.result)
    return tail


def _cut(node: onnx.NodeProto, arrays: Mapping[str, Array]) -> tuple[int, int] | None:
    """The lengths that a Slice cuts from both ends of the last axis; None for other nodes."""
    if node.op_type != "Slice" or any(name not in arrays for name in node.input[1:]):
        return None
    parameters = [arrays[name].tolist() for name in node.input[1:]]
    if len(parameters) != 4 or any(len(values) != 1 for values in parameters):
        return None
    start, end, axis, step = (values[0] for values in parameters)
    if (start, step) == (0, 1) and end >= _END:
        return 0, 0
    if axis in (2, -1) and step == 1 and start >= 0 and (end < 0 or end >= _END):
        return start, max(-end, 0)
    return None


def _ordinary(
    node: onnx.NodeProto, tail: _Tail, arrays: Mapping[str, Array], made: dict[str, Array]
) -> Iterator[onnx.NodeProto]:
    """The nodes instead of `node`; row m of the convolution holds outputs s*m to s*m + s - 1."""
    weight = arrays[node.input[1]]  # [C, C', K]
    channels, kernel = weight.shape[1:]
    stride = _attribute(node, "strides", 1)
    taps = -(-kernel // stride)
    begin = _attribute(node, "pads", 0) + tail.cut[0]
    # The end of the outputs, relative to the first tap of the last input.
    end = kernel - _attribute(node, "pads", 0, 1) - tail.cut[1]
    end += _attribute(node, "output_padding", 0)
    first, rows_after = begin // stride, -(-end // stride) - 1
    pads = [taps - 1 - first, rows_after]
    surplus = (begin - first * stride, (rows_after + 1) * stride - end)
    if min(pads) < 0:
        raise ValueError(f"{node.name}: the outputs of an input are cut off")

    stem = node.output[0]
    inputs = [node.input[0], f"{node.input[1]}_phases"]
    made[inputs[1]] = _phases(weight, stride, taps)
    if len(node.input) > 2 and node.input[2]:
        inputs.append(f"{node.input[2]}_phases")
        made[inputs[2]] = np.repeat(arrays[node.input[2]], stride)
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if tail.relu:
        steps.append(("Relu", [], {}))
    if stride > 1:
        made[f"{stem}_split"] = np.array([0, channels, stride, -1], np.int64)
        made[f"{stem}_joined"] = np.array([0, channels, -1], np.int64)
        steps.append(("Reshape", [f"{stem}_split"], {}))  # [B, C', s, M]
        steps.append(("Transpose", [], {"perm": [0, 1, 3, 2]}))
        steps.append(("Reshape", [f"{stem}_joined"], {}))  # [B, C', s * M]
    if any(surplus):
        made[f"{stem}_starts"] = np.array([surplus[0]], np.int64)
        made[f"{stem}_ends"] = np.array([-surplus[1] or np.iinfo(np.int64).max], np.int64)
        made[f"{stem}_axes"] = np.array([2], np.int64)
        steps.append(("Slice", [f"{stem}_starts", f"{stem}_ends", f"{stem}_axes"], {}))
    current = f"{stem}_phases" if steps else tail.result
    yield helper.make_node(
        "Conv", inputs, [current], node.name, kernel_shape=[taps], pads=pads, strides=[1]
    )
    for number, (op_type, parameters, attributes) in enumerate(steps, 1):
        name = f"{number}_{op_type.lower()}"
        output = tail.result if number == len(steps) else f"{stem}_{name}"
        yield helper.make_node(
            op_type, [current, *parameters], [output], f"{node.name}_{name}", **attributes
        )
        current = output


def _phases(weight: Array, stride: int, taps: int) -> Array:
    """[C, C', K] of a transposed convolution to [s * C', C, taps]: the phases of each channel."""
    inputs, channels, kernel = weight.shape
    filled = np.pad(weight, ((0, 0), (0, 0), (0, taps * stride - kernel)))
    phases = filled.reshape(inputs, channels, taps, stride)[:, :, ::-1]
    return np.ascontiguousarray(phases.transpose(1, 3, 0, 2)).reshape(-1, inputs, taps)


def _attribute(node: onnx.NodeProto, name: str, default: int, index: int = 0) -> int:
    """An integer attribute of a node."""
    return next((int(a.ints[index]) for a in node.attribute if a.name == name), default)
