"""A graph with uint8 signals, in the form that ONNX Runtime computes fastest on a processor.

Q/DQ nodes follow every tensor of such a signal, and ONNX Runtime runs each layer, sum, copy and
ReLU between them on bytes. A layer with uint8 output computes in INT8. A float32 input of it is
given as two bytes, side by side as channels: its uint8 value, and the remainder in finer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from frcrn_export.calibration.graph.dtypes import (
    NUMBER_FORMATS,
    Floats,
    least_weight_scale,
    quantize_bias,
    quantize_weight,
)
from frcrn_export.calibration.graph.layers import group_count, output_axis
from frcrn_export.calibration.graph.quantization_parameters import (
    MASK_PARAMETERS,
    QuantizationParameters,
    parameters_for,
    signal_histogram,
    signal_parameters,
)
from frcrn_export.calibration.graph.signals import (
    RECTIFIERS,
    Signal,
    copied_from,
    find_masks,
)
from frcrn_export.calibration.graph.stream_states import state_tensors
from frcrn_export.calibration.histogram import Histogram, value_range
from frcrn_export.exporters.graph_edits import copy_of, replace_nodes
from frcrn_export.runtime.bundle.manifest import CalibrationMethod


@dataclass
class Nodes:
    """Makes nodes; `made` are their constants, `done` what exists already."""

    made: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def first(self, name: str) -> bool:
        """Whether `name` was not made before."""
        is_first = name not in self.done
        self.done.add(name)
        return is_first

    def quantized(
        self, stem: str, source: str, qparams: QuantizationParameters, result: str | None = None
    ) -> onnx.NodeProto:
        """`result`, or `STEM_quantized`, of a float tensor."""
        given = [source, *self._given(stem, qparams)]
        return node("QuantizeLinear", given, result or f"{stem}_quantized")

    def dequantized(
        self, stem: str, source: str, result: str, qparams: QuantizationParameters
    ) -> onnx.NodeProto:
        """The float tensor of a uint8 tensor."""
        return node("DequantizeLinear", [source, *self._given(stem, qparams)], result)

    def pair(
        self, stem: str, source: str, result: str, qparams: QuantizationParameters
    ) -> Iterator[onnx.NodeProto]:
        """From `source` to `result`, through uint8."""
        yield self.quantized(stem, source, qparams)
        yield self.dequantized(stem, f"{stem}_quantized", result, qparams)

    def _given(self, stem: str, qparams: QuantizationParameters) -> tuple[str, str]:
        self.made[f"{stem}_scale"] = qparams.scale
        self.made[f"{stem}_zero_point"] = qparams.zero_point
        return parameters(stem)

    def constant(
        self, stem: str, values: npt.NDArray[Any], scale: Floats, axis: int
    ) -> onnx.NodeProto:
        """A float tensor `STEM` of integers times `scale` [channels] along an axis."""
        self.made[f"{stem}_quantized"] = values
        self.made[f"{stem}_scale"] = scale
        self.made[f"{stem}_zero_point"] = np.zeros(scale.shape, values.dtype)
        given = [f"{stem}_quantized", *parameters(stem)]
        return node("DequantizeLinear", given, stem, axis=axis)


def parameters(stem: str) -> tuple[str, str]:
    """The names of a scale and a zero point."""
    return f"{stem}_scale", f"{stem}_zero_point"


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """A node with one output, named after it."""
    return helper.make_node(operator, list(inputs), [output], f"{output}.{operator}", **attributes)


# The second byte has steps finer by this factor, and its weights are smaller by it: a larger factor
# would lose in the weights what it gains in the values.
_FINER = 8
# Steps kept free at each end for the remainder of rounding, at most half a step times the factor.
_MARGIN = _FINER


@dataclass(frozen=True)
class LayerInputs:
    """Quantizes the inputs of layers. `arrays` are the graph's constants.

    `qparams_of`: the parameters of a uint8 tensor, or None; `histogram_of`: the values of a tensor.
    """

    nodes: Nodes
    arrays: Mapping[str, npt.NDArray[Any]]
    method: CalibrationMethod
    qparams_of: Callable[[str], QuantizationParameters | None]
    histogram_of: Callable[[str], Histogram]

    def before(self, layer: onnx.NodeProto, tensor: str) -> Iterator[onnx.NodeProto]:
        """The nodes before a layer that reads `tensor`; changes the layer's inputs."""
        weight = self.arrays[layer.input[1]]
        is_conv, axis = layer.op_type == "Conv", output_axis(layer)
        qparams = self.qparams_of(tensor)
        if qparams is None and is_conv and group_count(layer) > 1:
            chosen = value_range(self.histogram_of(tensor), self.method, symmetric=False)
            qparams = parameters_for(*chosen)
            layer.input[0] = f"{tensor}_dequantized"
            if self.nodes.first(layer.input[0]):
                yield from self.nodes.pair(tensor, tensor, layer.input[0], qparams)
        elif qparams is None:
            seen = self.histogram_of(tensor)
            qparams = parameters_for(min(seen.low, 0.0), max(seen.high, 0.0), _MARGIN)
            weight = np.concatenate((weight, weight / _FINER), axis=1 - axis)
            layer.input[0] = f"{tensor}_two_bytes"
            yield from self._two_bytes(tensor, qparams, axis=1 if is_conv else -1)
        bias = self.arrays[layer.input[2]] if len(layer.input) > 2 and layer.input[2] else None
        least = None if bias is None else least_weight_scale(bias, float(qparams.scale))
        found = quantize_weight(weight, axis, np.float32, NUMBER_FORMATS["int8"], least)
        layer.input[1] = f"{layer.name}_weight"
        yield self.nodes.constant(layer.input[1], found.values, found.scale, axis)
        if bias is not None:
            scale = (qparams.scale * found.scale).astype(np.float32)
            layer.input[2] = f"{layer.name}_bias"
            yield self.nodes.constant(layer.input[2], quantize_bias(bias, scale), scale, 0)

    def _two_bytes(
        self, tensor: str, qparams: QuantizationParameters, axis: int
    ) -> Iterator[onnx.NodeProto]:
        """A float32 tensor as `TENSOR_two_bytes`, with twice the channels."""
        joined = f"{tensor}_two_bytes"
        if not self.nodes.first(joined):
            return
        coarse, fine = f"{tensor}_coarse", f"{tensor}_fine"
        yield from self.nodes.pair(coarse, tensor, coarse, qparams)
        yield node("Sub", [tensor, coarse], f"{tensor}_left")
        self.nodes.made["finer"] = np.array(_FINER, np.float32)
        yield node("Mul", [f"{tensor}_left", "finer"], f"{fine}_float")
        yield self.nodes.quantized(fine, f"{fine}_float", qparams)
        both = [f"{coarse}_quantized", f"{fine}_quantized"]
        yield node("Concat", both, f"{joined}_quantized", axis=axis)
        yield node("DequantizeLinear", [f"{joined}_quantized", *parameters(coarse)], joined)


def int8_layers_of(signals: Sequence[Signal], chosen: Collection[str]) -> frozenset[str]:
    """The layers that compute in INT8 if the `chosen` signals, by name, are in uint8."""
    return frozenset(layer for s in signals if s.name in chosen for layer in s.layers)


def quantize_signals(
    model: onnx.ModelProto,
    chosen: Collection[str],
    ranges: Mapping[str, Histogram],
    method: CalibrationMethod,
    signals: Sequence[Signal],
) -> onnx.ModelProto:
    """The model with the signals of these names in uint8; `method` chooses their scales.

    `signals` come from `find_signals`, `ranges` have their observed tensors. The rest is unchanged,
    and equal input gives equal output. Raises ValueError for an unknown name, KeyError for a tensor
    without a range.
    """
    if unknown := set(chosen) - {signal.name for signal in signals}:
        raise ValueError(f"{min(unknown)!r} is no signal of the graph")
    quantized = copy_of(model)
    work = _Rewriting(model, signals, chosen, ranges, method)
    nodes = [*work.inputs()]
    for each in quantized.graph.node:
        nodes.extend(work.rewritten(each))
    replace_nodes(quantized.graph, nodes, work.nodes.made)
    for value in (*quantized.graph.input, *quantized.graph.output):
        if value.name in work.states:
            value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return quantized


class _Rewriting:
    """Rewrites node after node.

    A uint8 tensor keeps its name for the value that is read; `TENSOR_float` is the computed one.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        signals: Sequence[Signal],
        chosen: Collection[str],
        ranges: Mapping[str, Histogram],
        method: CalibrationMethod,
    ) -> None:
        graph = model.graph
        self.nodes = Nodes()
        self._signals = {t: signal for signal in signals for t in signal.tensors}
        self._chosen, self._layers = set(chosen), int8_layers_of(signals, chosen)
        self._ranges, self._method = ranges, method
        self._made_by = {name: each for each in graph.node for name in each.output}
        self._sources, self._masks = copied_from(graph), find_masks(graph)
        self._qparams: dict[str, QuantizationParameters] = {}
        states = [name for pair in state_tensors(graph) for name in pair if self._in_bytes(pair)]
        self.states = frozenset(states)
        given = [value.name for value in graph.input if self._is_uint8(value.name)]
        self._floats = {name: f"{name}_dequantized" for name in (*given, *states)}
        self._given = given
        self._read = {name for each in graph.node for name in each.input}
        arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self._inputs = LayerInputs(
            self.nodes, arrays, method, self._qparams_or_none, self._histogram_of
        )

    def inputs(self) -> Iterator[onnx.NodeProto]:
        """Nodes for the graph's inputs: the states of a stream."""
        for name in self._given:
            qparams, result = self._qparams_of(name), self._floats[name]
            if name in self.states:
                yield self.nodes.dequantized(name, name, result, qparams)
            else:
                yield from self.nodes.pair(name, name, result, qparams)

    def rewritten(self, each: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The node, with the nodes before and after it."""
        read = list(each.input)
        for index, name in enumerate(read):
            each.input[index] = self._floats.get(name, name)
        if each.name in self._layers:
            yield from self._inputs.before(each, read[0])
        elif self._is_uint8(each.output[0]):
            yield from self._before(each)
        pairs = [name for name in each.output if self._is_uint8(name) and not self._is_free(name)]
        for index, name in enumerate(each.output):
            if name in pairs:
                each.output[index] = f"{name}_float"
        yield each
        for name in pairs:
            qparams, exact = self._qparams_of(name), f"{name}_float"
            if name not in self.states:
                yield from self.nodes.pair(name, exact, name, qparams)
                continue
            yield self.nodes.quantized(name, exact, qparams, result=name)
            if name in self._read:
                yield self.nodes.dequantized(name, name, self._floats[name], qparams)

    def _before(self, each: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Nodes before: a sum for a difference (ONNX Runtime sums bytes); a mask in bytes."""
        if each.op_type == "Sub" and all(map(self._is_uint8, each.input)):
            name = each.input[1]
            each.op_type = "Add"
            each.input[1] = f"{name}_negated"
            if self.nodes.first(each.input[1]):
                self.nodes.made[f"{name}_negative_scale"] = np.negative(
                    self._qparams_of(name).scale
                )
                given = [f"{name}_quantized", f"{name}_negative_scale", parameters(name)[1]]
                yield node("DequantizeLinear", given, each.input[1])
        elif each.op_type == "Mul":
            for index, name in enumerate(each.input):
                if name in self._masks:
                    each.input[index] = f"{name}_dequantized"
                    if self.nodes.first(each.input[index]):
                        yield from self.nodes.pair(name, name, each.input[index], MASK_PARAMETERS)

    def _in_bytes(self, state: tuple[str, str]) -> bool:
        """Whether a state comes in and goes out with the same scale and zero point."""
        before, after = state
        return self._is_uint8(before) and self._signals[before] is self._signals.get(after)

    def _is_uint8(self, tensor: str) -> bool:
        return tensor in self._signals and self._signals[tensor].name in self._chosen

    def _is_free(self, tensor: str) -> bool:
        """Whether a ReLU after a tensor is free, or runs in float32 anyway.

        A ReLU is free if zero is the lowest step of uint8.
        """
        if tensor not in self._signals[tensor].hidden:
            return False
        name = tensor
        while name in self._sources:
            if self._made_by[name].op_type in RECTIFIERS:
                return False
            name = self._sources[name][0]
        if name not in self._made_by or self._made_by[name].name not in self._layers:
            return True
        return not self._qparams_of(tensor).zero_point and self._histogram_of(tensor).low >= 0.0

    def _qparams_of(self, tensor: str) -> QuantizationParameters:
        signal = self._signals[tensor]
        if signal.name not in self._qparams:
            self._qparams[signal.name] = signal_parameters(signal, self._ranges, self._method)
        return self._qparams[signal.name]

    def _qparams_or_none(self, tensor: str) -> QuantizationParameters | None:
        return self._qparams_of(tensor) if self._is_uint8(tensor) else None

    def _histogram_of(self, tensor: str) -> Histogram:
        return signal_histogram(self._signals[tensor], self._ranges)
