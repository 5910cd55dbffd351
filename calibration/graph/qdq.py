"""Q/DQ nodes (QuantizeLinear, DequantizeLinear) in front of the layers that TensorRT runs in INT8.

These pairs alone define the precision of each layer: the builder takes the INT8 kernel of a layer
behind them. Activations are symmetric (TensorRT refuses other zero points); biases and outputs are
not quantized. Layers that read the same tensor share a pair.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from frcrn_export.calibration.graph.dtypes import (
    NUMBER_FORMATS,
    Floats,
    NumberFormat,
    QuantizedPrecision,
    QuantizedWeight,
    quantize_at_once,
    quantize_weight,
    round_up,
)
from frcrn_export.calibration.graph.layers import INT8_TYPES, output_axis
from frcrn_export.calibration.histogram import Histogram, value_range
from frcrn_export.exporters.graph_edits import copy_of, replace_nodes
from frcrn_export.runtime.bundle.manifest import CalibrationMethod

# With a scale per channel, RTX writes float32 sums and leaves scaling, bias and ReLU to another
# kernel; with one scale it fuses them and writes float16. So a weight gets one scale where every
# output channel keeps this SNR. (This costs the default network 1.5 of 49 dB.)
_ONE_SCALE_DB = 12.0
# The first opset with float16 scales and FP8. It only added data types and attributes with
# compatible defaults to the operators of a core, so the number is all that changes.
_HALF_AND_FP8_OPSET = 19


def quantized_tensors(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """The tensors whose ranges `quantize` needs: the inputs of the layers."""
    return list(dict.fromkeys(node.input[0] for node in _chosen(model.graph, layers)))


def quantize(
    model: onnx.ModelProto,
    layers: Collection[str],
    ranges: Mapping[str, Histogram],
    method: CalibrationMethod,
    precision: QuantizedPrecision = "int8",
) -> onnx.ModelProto:
    """The model with the layers of these names in INT8, or likewise in FP8.

    `layers` are a subset of `int8_layers`, `ranges` are of `quantized_tensors`, and `method`
    chooses from them. The rest is unchanged, and equal input gives equal output. Raises ValueError
    for a name that is no Conv, MatMul or Gemm of the graph, KeyError for a tensor without a range.
    """
    quantized = copy_of(model)
    graph = quantized.graph
    chosen = _chosen(graph, layers)
    if not chosen:
        return quantized
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    dtype = arrays[chosen[0].input[1]].dtype
    work = _Rewriting(NUMBER_FORMATS[precision], ranges, method, arrays, dtype)
    names = {node.name for node in chosen}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name in names:
            nodes.extend(work.operands(node))
        nodes.append(node)
    replace_nodes(graph, nodes, work.made)
    if dtype == np.float16 or precision == "fp8":
        _raise_opset(quantized)
    return quantized


def _chosen(graph: onnx.GraphProto, layers: Collection[str]) -> list[onnx.NodeProto]:
    wanted = set(layers)
    chosen = [node for node in graph.node if node.name in wanted]
    able = {node.name for node in chosen if node.op_type in INT8_TYPES}
    if unable := wanted - able:
        raise ValueError(f"{min(unable)!r} is no Conv, MatMul or Gemm of the graph")
    return chosen


def _raise_opset(model: onnx.ModelProto) -> None:
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = max(opset.version, _HALF_AND_FP8_OPSET)


@dataclass
class _Rewriting:
    """Quantizes the inputs of layer after layer; `made` are the new initializers so far."""

    number_format: NumberFormat
    ranges: Mapping[str, Histogram]
    method: CalibrationMethod
    arrays: Mapping[str, npt.NDArray[Any]]
    dtype: npt.DTypeLike
    made: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def operands(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The Q/DQ nodes before a layer, for its input and its weight."""
        name = node.input[0]
        if f"{name}_scale" not in self.made:
            yield from self._activation(name)
        node.input[0] = f"{name}_dequantized"
        axis = output_axis(node)
        weight = self._weight(self.arrays[node.input[1]], axis)
        stem = node.input[1]
        node.input[1] = f"{stem}_dequantized"
        if f"{stem}_quantized" not in self.made:
            self.made[f"{stem}_quantized"] = weight.values
            parameters = self._parameters(stem, weight.scale, weight.values.dtype)
            yield helper.make_node(
                "DequantizeLinear",
                [f"{stem}_quantized", *parameters],
                [f"{stem}_dequantized"],
                f"{stem}_dequantize",
                axis=axis if weight.scale.ndim else None,
            )

    def _weight(self, weight: Floats, axis: int) -> QuantizedWeight:
        whole = quantize_at_once(weight, axis, self.dtype, self.number_format, _ONE_SCALE_DB)
        return whole or quantize_weight(weight, axis, self.dtype, self.number_format)

    def _activation(self, name: str) -> Iterator[onnx.NodeProto]:
        """Both nodes of a tensor."""
        _, high = value_range(self.ranges[name], self.method, symmetric=True)
        scale = round_up(np.array(high / self.number_format.largest), self.dtype)
        parameters = self._parameters(name, scale, self.number_format.dtype)
        quantized = f"{name}_quantized"
        yield helper.make_node(
            "QuantizeLinear", [name, *parameters], [quantized], f"{name}_quantize"
        )
        yield helper.make_node(
            "DequantizeLinear",
            [quantized, *parameters],
            [f"{name}_dequantized"],
            f"{name}_dequantize",
        )

    def _parameters(self, stem: str, scale: Floats, dtype: npt.DTypeLike) -> tuple[str, str]:
        self.made[f"{stem}_scale"] = scale
        self.made[f"{stem}_zero_point"] = np.zeros(scale.shape, dtype)
        return f"{stem}_scale", f"{stem}_zero_point"
