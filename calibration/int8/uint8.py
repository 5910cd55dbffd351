"""A graph with signals in uint8, in the form that ONNX Runtime computes fastest on a processor.

QuantizeLinear and DequantizeLinear stand behind every tensor of such a signal. ONNX Runtime then
finds each layer, sum, copy and rectifier between them and runs it on bytes. A layer whose output is
uint8 computes in INT8. Where its input is a signal that stays float32, it takes that in two bytes:
what uint8 holds of it, and in finer steps what that leaves, beside each other as channels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from frcrn_export.calibration.int8.forms import GRIDS
from frcrn_export.calibration.int8.histogram import Histogram, merge
from frcrn_export.calibration.int8.layers import Layer, group_count, quantizable
from frcrn_export.calibration.int8.signals import (
    RECTIFIERS,
    Signal,
    copied_from,
    find_masks,
    find_signals,
)
from frcrn_export.calibration.int8.thresholds import value_range
from frcrn_export.calibration.int8.weights import (
    Floats,
    least_weight_scale,
    quantize_bias,
    quantize_weight,
    round_up,
)
from frcrn_export.runtime.manifest import CalibrationMethod

# The second byte counts in steps finer by this; the weights that it meets are smaller by as much,
# so that a larger factor would lose in them what it gains in the values.
_FINER = 8
# So many steps at each end are left for what rounding leaves, which is at most half a step times
# the factor.
_MARGIN = _FINER


@dataclass(frozen=True)
class Steps:
    """uint8 as scale * (value - zero_point)."""

    scale: Floats
    zero_point: npt.NDArray[Any]


def signal_range(
    signal: Signal, ranges: Mapping[str, Histogram], method: CalibrationMethod
) -> tuple[float, float]:
    """What the 256 steps of a signal cover."""
    return value_range(merge([ranges[name] for name in signal.observed]), method, symmetric=False)


def signal_steps(
    signal: Signal, ranges: Mapping[str, Histogram], method: CalibrationMethod
) -> Steps:
    """The 256 steps of a signal."""
    return _steps(*signal_range(signal, ranges, method))


def int8_layers_of(
    model: onnx.ModelProto, signals: Sequence[Signal], chosen: Collection[str]
) -> list[Layer]:
    """The layers that compute in INT8 where the `chosen` signals, by name, are in uint8."""
    tensors = {t for signal in signals if signal.name in chosen for t in signal.tensors}
    return [layer for layer in quantizable(model, "cpu") if layer.output in tensors]


def quantize_signals(
    model: onnx.ModelProto,
    chosen: Collection[str],
    ranges: Mapping[str, Histogram],
    method: CalibrationMethod,
    signals: Sequence[Signal] | None = None,
) -> onnx.ModelProto:
    """The model with the signals of these names in uint8; `method` chooses their steps.

    `signals` are what `find_signals` gives, `ranges` have their observed tensors. All else stays as
    it is, and the result is the same whenever the input is. Raises ValueError for a name that is
    no signal's, KeyError for a tensor without a range.
    """
    signals = find_signals(model) if signals is None else signals
    if unknown := set(chosen) - {signal.name for signal in signals}:
        raise ValueError(f"{min(unknown)!r} is no signal of the graph")
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    layers = {layer.name for layer in int8_layers_of(model, signals, chosen)}
    work = _Rewriting(
        signals={t: signal for signal in signals for t in signal.tensors},
        chosen=set(chosen),
        layers=layers,
        ranges=ranges,
        method=method,
        arrays={t.name: numpy_helper.to_array(t) for t in graph.initializer},
        made_by={name: node for node in model.graph.node for name in node.output},
        sources=copied_from(model.graph),
        masks=find_masks(model.graph),
    )
    nodes = [*work.inputs(graph)]
    for node in graph.node:
        nodes.extend(work.rewritten(node))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in work.made.items())
    return quantized


@dataclass
class _Rewriting:
    """Rewrites node after node; `made` are the new initializers so far.

    A tensor in uint8 keeps its name for what is read of it; `TENSOR_float` is what was computed.
    """

    signals: Mapping[str, Signal]
    chosen: Collection[str]
    layers: Collection[str]
    ranges: Mapping[str, Histogram]
    method: CalibrationMethod
    arrays: Mapping[str, npt.NDArray[Any]]
    made_by: Mapping[str, onnx.NodeProto]
    sources: Mapping[str, Sequence[str]]
    masks: Collection[str]
    made: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    steps: dict[str, Steps] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def inputs(self, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
        """Inputs of the graph, states of a stream, in uint8 for all that read them."""
        for value in graph.input:
            if self._is_uint8(value.name):
                yield from self._pair(value.name, value.name, f"{value.name}_dequantized")
        self._renamed = {
            v.name: f"{v.name}_dequantized" for v in graph.input if self._is_uint8(v.name)
        }

    def rewritten(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The node, with what has to stand before and behind it."""
        for index, name in enumerate(node.input):
            node.input[index] = self._renamed.get(name, name)
        if node.name in self.layers:
            yield from self._layer(node)
        elif node.op_type == "Sub" and self._is_uint8(node.output[0]):
            yield from self._sum_of_negated(node)
        elif node.op_type == "Mul" and self._is_uint8(node.output[0]):
            yield from self._masked(node)
        pairs = []
        for index, name in enumerate(node.output):
            if self._is_uint8(name) and not self._is_free(name):
                node.output[index] = f"{name}_float"
                pairs.append(name)
        yield node
        for name in pairs:
            yield from self._pair(name, f"{name}_float", name)

    def _is_uint8(self, tensor: str) -> bool:
        return tensor in self.signals and self.signals[tensor].name in self.chosen

    def _is_free(self, tensor: str) -> bool:
        """Whether a rectifier behind a tensor is no work, or that of float32 anyway.

        A ReLU is where uint8 begins, if its zero is the lowest step.
        """
        if tensor not in self.signals[tensor].hidden:
            return False
        name = tensor
        while name in self.sources:
            if self.made_by[name].op_type in RECTIFIERS:
                return False
            name = self.sources[name][0]
        if name not in self.made_by or self.made_by[name].name not in self.layers:
            return True
        return not self._steps_of(tensor).zero_point and self._meets_relu(tensor)

    def _meets_relu(self, tensor: str) -> bool:
        low = min(self.ranges[name].low for name in self.signals[tensor].observed)
        return low >= 0.0

    def _steps_of(self, tensor: str) -> Steps:
        signal = self.signals[tensor]
        if signal.name not in self.steps:
            self.steps[signal.name] = signal_steps(signal, self.ranges, self.method)
        return self.steps[signal.name]

    def _pair(self, tensor: str, source: str, result: str) -> Iterator[onnx.NodeProto]:
        """Both nodes for a tensor, between `source` and `result`."""
        yield from self._quantized(tensor, source, self._steps_of(tensor))
        yield _node("DequantizeLinear", [f"{tensor}_quantized", *self._of(tensor)], result)

    def _quantized(self, stem: str, source: str, steps: Steps) -> Iterator[onnx.NodeProto]:
        self.made[f"{stem}_scale"] = steps.scale
        self.made[f"{stem}_zero_point"] = steps.zero_point
        yield _node("QuantizeLinear", [source, *self._of(stem)], f"{stem}_quantized")

    @staticmethod
    def _of(stem: str) -> tuple[str, str]:
        return f"{stem}_scale", f"{stem}_zero_point"

    def _sum_of_negated(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A difference as a sum, which ONNX Runtime has for bytes: of a negative scale."""
        name = node.input[1]
        if not self._is_uint8(name) or not self._is_uint8(node.input[0]):
            return
        node.op_type = "Add"
        node.input[1] = f"{name}_negated"
        if node.input[1] not in self.done:
            self.done.add(node.input[1])
            self.made[f"{name}_negative_scale"] = -self._steps_of(name).scale
            given = [f"{name}_quantized", f"{name}_negative_scale", f"{name}_zero_point"]
            yield _node("DequantizeLinear", given, node.input[1])

    def _masked(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A mask in uint8: with 255 for 1, what passes it stays as it is."""
        for index, name in enumerate(node.input):
            if name not in self.masks:
                continue
            node.input[index] = f"{name}_dequantized"
            yield from self._one_byte(
                name, Steps(np.array(1 / 255, np.float32), np.array(0, np.uint8))
            )

    def _layer(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Let a layer read INT8: its input, its weight and its bias."""
        name = next((k for k, v in self._renamed.items() if v == node.input[0]), node.input[0])
        weight = self.arrays[node.input[1]]
        is_conv = node.op_type == "Conv"
        if self._is_uint8(name):
            steps = self._steps_of(name)
        elif is_conv and group_count(node) > 1:
            steps = _steps(*self._float_range(name))
            yield from self._one_byte(name, steps)
            node.input[0] = f"{name}_dequantized"
        else:
            histogram = self._histogram(name)
            steps = _steps(histogram.low, histogram.high, _MARGIN)
            yield from self._two_bytes(name, steps, 1 if is_conv else -1)
            weight = np.concatenate((weight, weight / _FINER), axis=1 if is_conv else 0)
            node.input[0] = f"{name}_two_bytes"
        bias = self.arrays[node.input[2]] if len(node.input) > 2 and node.input[2] else None
        least = None if bias is None else least_weight_scale(bias, float(steps.scale))
        axis = 0 if is_conv else 1
        found = quantize_weight(weight, axis, np.float32, GRIDS["int8"], least)
        yield from self._constant(node, 1, f"{node.name}_weight", found.values, found.scale, axis)
        if bias is not None:
            scale = (steps.scale * found.scale).astype(np.float32)
            yield from self._constant(
                node, 2, f"{node.name}_bias", quantize_bias(bias, scale), scale, 0
            )

    def _histogram(self, tensor: str) -> Histogram:
        observed = self.signals[tensor].observed if tensor in self.signals else (tensor,)
        return merge([self.ranges[name] for name in observed])

    def _float_range(self, tensor: str) -> tuple[float, float]:
        return value_range(self._histogram(tensor), self.method, symmetric=False)

    def _one_byte(self, name: str, steps: Steps) -> Iterator[onnx.NodeProto]:
        """A float32 signal in uint8 for the layers that cannot take two bytes."""
        if f"{name}_dequantized" not in self.done:
            self.done.add(f"{name}_dequantized")
            yield from self._quantized(name, name, steps)
            yield _node(
                "DequantizeLinear", [f"{name}_quantized", *self._of(name)], f"{name}_dequantized"
            )

    def _two_bytes(self, name: str, steps: Steps, axis: int) -> Iterator[onnx.NodeProto]:
        """A float32 signal twice as wide: uint8, and what that leaves in finer steps."""
        joined = f"{name}_two_bytes"
        if joined in self.done:
            return
        self.done.add(joined)
        stem = f"{name}_coarse"
        yield from self._quantized(stem, name, steps)
        parameters = self._of(stem)
        self.made["finer"] = np.array(_FINER, np.float32)
        yield _node("DequantizeLinear", [f"{stem}_quantized", *parameters], stem)
        yield _node("Sub", [name, stem], f"{name}_left")
        yield _node("Mul", [f"{name}_left", "finer"], f"{name}_fine_float")
        yield _node("QuantizeLinear", [f"{name}_fine_float", *parameters], f"{name}_fine_quantized")
        both = [f"{stem}_quantized", f"{name}_fine_quantized"]
        yield _node("Concat", both, f"{joined}_quantized", axis=axis)
        yield _node("DequantizeLinear", [f"{joined}_quantized", *parameters], joined)

    def _constant(
        self,
        node: onnx.NodeProto,
        index: int,
        stem: str,
        values: npt.NDArray[Any],
        scale: Floats,
        axis: int,
    ) -> Iterator[onnx.NodeProto]:
        """What the layer reads as its input `index`: whole numbers in steps of `scale`."""
        self.made[f"{stem}_quantized"] = values
        self.made[f"{stem}_scale"] = scale
        self.made[f"{stem}_zero_point"] = np.zeros(scale.shape, values.dtype)
        node.input[index] = stem
        yield _node("DequantizeLinear", [f"{stem}_quantized", *self._of(stem)], stem, axis=axis)


def _steps(low: float, high: float, margin: int = 0) -> Steps:
    """The steps for a range that has 0 in it, so many of them unused at both ends."""
    scale = round_up(np.array((high - low) / (255 - 2 * margin)), np.float32)
    zero = np.round(np.clip(-low / scale, 0, 255 - 2 * margin)) + margin
    return Steps(scale, zero.astype(np.uint8))


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [output], f"{output}.{operator}", **attributes)
