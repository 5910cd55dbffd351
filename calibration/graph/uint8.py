"""A graph with signals in uint8, in the form that ONNX Runtime computes fastest on a processor.

QuantizeLinear and DequantizeLinear stand behind every tensor of such a signal. ONNX Runtime then
finds each layer, sum, copy and rectifier between them and runs it on bytes. A layer whose output is
uint8 computes in INT8. Where its input is a signal that stays float32, it takes that in two bytes:
what uint8 holds of it, and in finer steps what that leaves, beside each other as channels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from frcrn_export.calibration.graph.edits import copy_of, replace_nodes
from frcrn_export.calibration.graph.quantization_parameters import (
    MASK_STEPS,
    Steps,
    signal_histogram,
    signal_steps,
)
from frcrn_export.calibration.graph.signals import (
    RECTIFIERS,
    Signal,
    copied_from,
    find_masks,
)
from frcrn_export.calibration.graph.stream_states import state_tensors
from frcrn_export.calibration.graph.uint8_layers import LayerInputs
from frcrn_export.calibration.graph.uint8_nodes import Nodes, node, parameters
from frcrn_export.calibration.histogram import Histogram
from frcrn_export.runtime.bundle.manifest import CalibrationMethod


def int8_layers_of(signals: Sequence[Signal], chosen: Collection[str]) -> frozenset[str]:
    """The layers that compute in INT8 where the `chosen` signals, by name, are in uint8."""
    return frozenset(layer for s in signals if s.name in chosen for layer in s.layers)


def quantize_signals(
    model: onnx.ModelProto,
    chosen: Collection[str],
    ranges: Mapping[str, Histogram],
    method: CalibrationMethod,
    signals: Sequence[Signal],
) -> onnx.ModelProto:
    """The model with the signals of these names in uint8; `method` chooses their steps.

    `signals` are what `find_signals` gives, `ranges` have their observed tensors. All else stays as
    it is, and the result is the same whenever the input is. Raises ValueError for a name that is
    no signal's, KeyError for a tensor without a range.
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

    A tensor in uint8 keeps its name for what is read of it; `TENSOR_float` is what was computed.
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
        self._steps: dict[str, Steps] = {}
        states = [name for pair in state_tensors(graph) for name in pair if self._in_bytes(pair)]
        self.states = frozenset(states)
        given = [value.name for value in graph.input if self._is_uint8(value.name)]
        self._floats = {name: f"{name}_dequantized" for name in (*given, *states)}
        self._given = given
        self._read = {name for each in graph.node for name in each.input}
        arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self._inputs = LayerInputs(
            self.nodes, arrays, method, self._steps_or_none, self._histogram_of
        )

    def inputs(self) -> Iterator[onnx.NodeProto]:
        """Inputs of the graph, states of a stream, for all that read them."""
        for name in self._given:
            steps, result = self._steps_of(name), self._floats[name]
            if name in self.states:
                yield self.nodes.dequantized(name, name, result, steps)
            else:
                yield from self.nodes.pair(name, name, result, steps)

    def rewritten(self, each: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The node, with what has to stand before and behind it."""
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
            steps, exact = self._steps_of(name), f"{name}_float"
            if name not in self.states:
                yield from self.nodes.pair(name, exact, name, steps)
                continue
            yield self.nodes.quantized(name, exact, steps, result=name)
            if name in self._read:
                yield self.nodes.dequantized(name, name, self._floats[name], steps)

    def _before(self, each: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A difference as a sum, which ONNX Runtime has for bytes; a mask in bytes."""
        if each.op_type == "Sub" and all(map(self._is_uint8, each.input)):
            name = each.input[1]
            each.op_type = "Add"
            each.input[1] = f"{name}_negated"
            if self.nodes.first(each.input[1]):
                self.nodes.made[f"{name}_negative_scale"] = np.negative(self._steps_of(name).scale)
                given = [f"{name}_quantized", f"{name}_negative_scale", parameters(name)[1]]
                yield node("DequantizeLinear", given, each.input[1])
        elif each.op_type == "Mul":
            for index, name in enumerate(each.input):
                if name in self._masks:
                    each.input[index] = f"{name}_dequantized"
                    if self.nodes.first(each.input[index]):
                        yield from self.nodes.pair(name, name, each.input[index], MASK_STEPS)

    def _in_bytes(self, state: tuple[str, str]) -> bool:
        """Whether a state comes in and goes out in the same steps."""
        before, after = state
        return self._is_uint8(before) and self._signals[before] is self._signals.get(after)

    def _is_uint8(self, tensor: str) -> bool:
        return tensor in self._signals and self._signals[tensor].name in self._chosen

    def _is_free(self, tensor: str) -> bool:
        """Whether a rectifier behind a tensor is no work, or that of float32 anyway.

        A ReLU is where uint8 begins, if its zero is the lowest step.
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
        return not self._steps_of(tensor).zero_point and self._histogram_of(tensor).low >= 0.0

    def _steps_of(self, tensor: str) -> Steps:
        signal = self._signals[tensor]
        if signal.name not in self._steps:
            self._steps[signal.name] = signal_steps(signal, self._ranges, self._method)
        return self._steps[signal.name]

    def _steps_or_none(self, tensor: str) -> Steps | None:
        return self._steps_of(tensor) if self._is_uint8(tensor) else None

    def _histogram_of(self, tensor: str) -> Histogram:
        return signal_histogram(self._signals[tensor], self._ranges)
