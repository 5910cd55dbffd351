"""QuantizeLinear and DequantizeLinear in front of the layers that TensorRT shall compute in INT8.

With these pairs alone a file says what runs in which precision: the builder finds a layer behind
them and takes its INT8 kernel. Activations are around 0 (TensorRT refuses other zero points);
biases and outputs are not quantized. Each pair is made once, however many layers read it.
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
from frcrn_export.calibration.graph.edits import copy_of, replace_nodes
from frcrn_export.calibration.histogram import Histogram, value_range
from frcrn_export.runtime.bundle.manifest import CalibrationMethod

# With a scale for each channel, RTX writes sums in float32 and leaves scaling, bias and ReLU to
# another kernel; with one for all it fuses them and writes float16. So a weight gets one where that
# leaves every output channel this much SNR. (The default network gives 1.5 of 49 dB for it.)
_ONE_SCALE_DB = 12.0
# The first opset that has scales in float16, and FP8. To the operators of a core it brought
# more data types, and attributes whose defaults are what was: the number is all that changes.
_HALF_AND_FP8_OPSET = 19


def quantized_tensors(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """The tensors whose ranges `quantize` needs: what the layers read."""
    return list(dict.fromkeys(node.input[0] for node in _chosen(model.graph, layers)))


def quantize(
    model: onnx.ModelProto,
    layers: Collection[str],
    ranges: Mapping[str, Histogram],
    method: CalibrationMethod,
    precision: QuantizedPrecision = "int8",
) -> onnx.ModelProto:
    """The model with the layers of these names in INT8, or in FP8 in every way alike.

    `layers` are some of those that `int8_layers` gives, `ranges` those of the tensors that
    `quantized_tensors` names, and `method` chooses from them. All else stays as it is, and the
    result is the same whenever the input is. Raises ValueError for a name that is no Conv's or
    MatMul's of the graph, KeyError for a tensor without a range.
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
    able = {node.name for node in chosen if node.op_type in ("Conv", "MatMul")}
    if unable := wanted - able:
        raise ValueError(f"{min(unable)!r} is no Conv or MatMul of the graph")
    return chosen


def _raise_opset(model: onnx.ModelProto) -> None:
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = max(opset.version, _HALF_AND_FP8_OPSET)


@dataclass
class _Rewriting:
    """Lets layer after layer read 8 bits; `made` are the new initializers so far."""

    number_format: NumberFormat
    ranges: Mapping[str, Histogram]
    method: CalibrationMethod
    arrays: Mapping[str, npt.NDArray[Any]]
    dtype: npt.DTypeLike
    made: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def operands(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """What stands before a layer, for its input and its weight."""
        name = node.input[0]
        if f"{name}_scale" not in self.made:
            yield from self._activation(name)
        node.input[0] = f"{name}_dequantized"
        axis = 0 if node.op_type == "Conv" else 1
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
        """Both nodes for the values of a tensor."""
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
