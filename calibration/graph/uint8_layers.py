"""Layers that compute in INT8 on processors: what stands in front of them.

A signal in uint8 is read as it is. One that stays float32 is taken in two bytes: what uint8 holds
of it, and in finer steps what that leaves, beside each other as channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from frcrn_export.calibration.graph.dtypes import GRIDS
from frcrn_export.calibration.graph.layers import group_count
from frcrn_export.calibration.graph.quantization_parameters import Steps, steps_for
from frcrn_export.calibration.graph.uint8_nodes import Nodes, node, parameters
from frcrn_export.calibration.graph.weights import (
    least_weight_scale,
    quantize_bias,
    quantize_weight,
)
from frcrn_export.calibration.histogram import Histogram
from frcrn_export.calibration.thresholds import value_range
from frcrn_export.runtime.bundle.manifest import CalibrationMethod

# The second byte counts in steps finer by this; the weights that it meets are smaller by as much,
# so that a larger factor would lose in them what it gains in the values.
_FINER = 8
# So many steps at each end are left for what rounding leaves, which is at most half a step times
# the factor.
_MARGIN = _FINER


@dataclass(frozen=True)
class LayerInputs:
    """Lets layers read INT8. `arrays` are the graph's constants.

    `steps_of`: those of a tensor in uint8, or None; `histogram_of`: all values of a tensor.
    """

    nodes: Nodes
    arrays: Mapping[str, npt.NDArray[Any]]
    method: CalibrationMethod
    steps_of: Callable[[str], Steps | None]
    histogram_of: Callable[[str], Histogram]

    def before(self, layer: onnx.NodeProto, tensor: str) -> Iterator[onnx.NodeProto]:
        """What stands before a Conv or MatMul that reads `tensor`; changes its inputs."""
        weight = self.arrays[layer.input[1]]
        is_conv = layer.op_type == "Conv"
        steps = self.steps_of(tensor)
        if steps is None and is_conv and group_count(layer) > 1:
            chosen = value_range(self.histogram_of(tensor), self.method, symmetric=False)
            steps = steps_for(*chosen)
            layer.input[0] = f"{tensor}_dequantized"
            if self.nodes.first(layer.input[0]):
                yield from self.nodes.pair(tensor, tensor, layer.input[0], steps)
        elif steps is None:
            seen = self.histogram_of(tensor)
            steps = steps_for(min(seen.low, 0.0), max(seen.high, 0.0), _MARGIN)
            weight = np.concatenate((weight, weight / _FINER), axis=1 if is_conv else 0)
            layer.input[0] = f"{tensor}_two_bytes"
            yield from self._two_bytes(tensor, steps, axis=1 if is_conv else -1)
        bias = self.arrays[layer.input[2]] if len(layer.input) > 2 and layer.input[2] else None
        least = None if bias is None else least_weight_scale(bias, float(steps.scale))
        axis = 0 if is_conv else 1
        found = quantize_weight(weight, axis, np.float32, GRIDS["int8"], least)
        layer.input[1] = f"{layer.name}_weight"
        yield self.nodes.constant(layer.input[1], found.values, found.scale, axis)
        if bias is not None:
            scale = (steps.scale * found.scale).astype(np.float32)
            layer.input[2] = f"{layer.name}_bias"
            yield self.nodes.constant(layer.input[2], quantize_bias(bias, scale), scale, 0)

    def _two_bytes(self, tensor: str, steps: Steps, axis: int) -> Iterator[onnx.NodeProto]:
        """A float32 tensor as `TENSOR_two_bytes`, twice as wide."""
        joined = f"{tensor}_two_bytes"
        if not self.nodes.first(joined):
            return
        coarse, fine = f"{tensor}_coarse", f"{tensor}_fine"
        yield from self.nodes.pair(coarse, tensor, coarse, steps)
        yield node("Sub", [tensor, coarse], f"{tensor}_left")
        self.nodes.made["finer"] = np.array(_FINER, np.float32)
        yield node("Mul", [f"{tensor}_left", "finer"], f"{fine}_float")
        yield self.nodes.quantized(fine, f"{fine}_float", steps)
        both = [f"{coarse}_quantized", f"{fine}_quantized"]
        yield node("Concat", both, f"{joined}_quantized", axis=axis)
        yield node("DequantizeLinear", [f"{joined}_quantized", *parameters(coarse)], joined)
