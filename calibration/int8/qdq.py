"""QuantizeLinear and DequantizeLinear around the layers that shall compute in INT8.

With these pairs alone a file says what runs in which precision: whoever runs it finds a layer
between them and takes its INT8 kernel. Each pair is made once, however many layers read it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from frcrn_export.calibration.int8.forms import FORMS, GRIDS, Form, Grid, Number
from frcrn_export.calibration.int8.histogram import Histogram
from frcrn_export.calibration.int8.thresholds import value_range
from frcrn_export.calibration.int8.weights import (
    Floats,
    QuantizedWeight,
    least_weight_scale,
    quantize_at_once,
    quantize_bias,
    quantize_weight,
    round_up,
)
from frcrn_export.runtime.manifest import CalibrationMethod, Consumer

# The first opset that has scales in half precision, and FP8. To the operators of a core it brought
# more data types, and attributes whose defaults are what was: the number is all that changes.
_HALF_AND_FP8_OPSET = 19


def quantized_tensors(
    model: onnx.ModelProto, layers: Collection[str], consumer: Consumer
) -> list[str]:
    """The tensors whose ranges `quantize` needs."""
    chosen = _chosen(model.graph, layers)
    outputs = _outputs(model.graph, chosen) if FORMS[consumer].whole else ()
    return list(dict.fromkeys([*(node.input[0] for node in chosen), *outputs]))


def quantize(
    model: onnx.ModelProto,
    layers: Collection[str],
    ranges: Mapping[str, Histogram],
    consumer: Consumer,
    method: CalibrationMethod,
    number: Number = "int8",
) -> onnx.ModelProto:
    """The model with the layers of these names in INT8, in the form that a consumer wants.

    `layers` are some of those that `int8_layers` gives, `ranges` those of the tensors that
    `quantized_tensors` names, and `method` chooses from them. All else stays as it is, and the
    result is the same whenever the input is. FP8, for TensorRT alone, takes the place of INT8 in
    every way. Raises ValueError for a name that is no Conv's or MatMul's of the graph, KeyError for
    a tensor without a range.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    chosen = _chosen(graph, layers)
    if not chosen:
        return quantized
    form = FORMS[consumer]
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    work = _Rewriting(
        form=form,
        grid=GRIDS[number],
        ranges=ranges,
        method=method,
        arrays=arrays,
        dtype=arrays[chosen[0].input[1]].dtype,
        outputs=_outputs(graph, chosen) if form.whole else (),
    )
    names = {node.name for node in chosen}
    nodes = [new for node in graph.node for new in work.rewritten(node, node.name in names)]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in work.made.items())
    if work.dtype == np.float16 or number == "fp8":
        _raise_opset(quantized)
    return quantized


def _chosen(graph: onnx.GraphProto, layers: Collection[str]) -> list[onnx.NodeProto]:
    wanted = set(layers)
    chosen = [node for node in graph.node if node.name in wanted]
    able = {node.name for node in chosen if node.op_type in ("Conv", "MatMul")}
    if unable := wanted - able:
        raise ValueError(f"{min(unable)!r} is no Conv or MatMul of the graph")
    return chosen


def _outputs(graph: onnx.GraphProto, chosen: Collection[onnx.NodeProto]) -> tuple[str, ...]:
    """The tensors that are quantized behind whole convolutions: behind their ReLU if any.

    The ReLU is then no work at all, being where uint8 begins.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs: list[str] = []
    results = {value.name for value in graph.output}
    for conv in chosen:
        if conv.op_type == "Conv":
            output = conv.output[0]
            behind = [] if output in results else readers.get(output, [])
            alone = [node.op_type for node in behind] == ["Relu"]
            outputs.append(behind[0].output[0] if alone else output)
    return tuple(outputs)


def _raise_opset(model: onnx.ModelProto) -> None:
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = max(opset.version, _HALF_AND_FP8_OPSET)


@dataclass
class _Rewriting:
    """Rewrites node after node; `made` are the new initializers so far.

    `outputs` are the tensors that are quantized where they are made, for every reader;
    `dequantized` is what a layer reads instead of a tensor.
    """

    form: Form
    grid: Grid
    ranges: Mapping[str, Histogram]
    method: CalibrationMethod
    arrays: Mapping[str, npt.NDArray[Any]]
    dtype: npt.DTypeLike
    outputs: Collection[str]
    made: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    dequantized: dict[str, str] = field(default_factory=dict)

    def rewritten(self, node: onnx.NodeProto, chosen: bool) -> Iterator[onnx.NodeProto]:
        """The node, with what has to stand before and behind it."""
        if chosen:
            yield from self._operands(node)
        whole = [name for name in node.output if name in self.outputs]
        for index, name in enumerate(node.output):
            if name in whole:
                node.output[index] = f"{name}_float"
        yield node
        for name in whole:
            yield from self._activation(name, source=f"{name}_float", result=name)

    def _operands(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Let a layer read INT8: its input, its weight and, if it is whole, its bias."""
        name = node.input[0]
        if name not in self.dequantized:
            yield from self._activation(name, source=name, result=f"{name}_dequantized")
        bias = None
        if self.form.whole and len(node.input) > 2 and node.input[2]:
            bias = self.arrays[node.input[2]]
        input_scale = self.made[f"{name}_scale"]
        axis = 0 if node.op_type == "Conv" else 1
        weight = self._weight(self.arrays[node.input[1]], axis, bias, float(input_scale))
        node.input[0] = self.dequantized[name]
        stem = node.input[1]
        if not np.array_equal(self.made.get(f"{stem}_scale", weight.scale), weight.scale):
            stem = f"{stem}_{node.name}"  # shared by layers that need different scales
        node.input[1] = f"{stem}_dequantized"
        yield from self._constant(stem, weight.values, weight.scale, axis)
        if bias is not None:
            scale = (input_scale * weight.scale).astype(np.float32)
            stem = f"{node.name}_bias"
            node.input[2] = f"{stem}_dequantized"
            yield from self._constant(stem, quantize_bias(bias, scale), scale, 0)

    def _weight(
        self, weight: Floats, axis: int, bias: Floats | None, input_scale: float
    ) -> QuantizedWeight:
        least_db = self.form.one_scale_db
        if least_db is not None and (
            whole := quantize_at_once(weight, axis, self.dtype, self.grid, least_db)
        ):
            return whole
        least = None if bias is None else least_weight_scale(bias, input_scale)
        return quantize_weight(weight, axis, self.dtype, self.grid, least)

    def _activation(self, name: str, source: str, result: str) -> Iterator[onnx.NodeProto]:
        """Both nodes for the values of the tensor `name`, between `source` and `result`."""
        self.dequantized[name] = result
        scale, zero_point = self._activation_scale(name)
        parameters = self._parameters(name, scale, zero_point)
        quantized = f"{name}_quantized"
        yield helper.make_node(
            "QuantizeLinear", [source, *parameters], [quantized], f"{name}_quantize"
        )
        yield helper.make_node(
            "DequantizeLinear", [quantized, *parameters], [result], f"{name}_dequantize"
        )

    def _activation_scale(self, name: str) -> tuple[Floats, npt.NDArray[Any]]:
        low, high = value_range(self.ranges[name], self.method, self.form.symmetric)
        if self.form.symmetric:
            zero = np.array(0, self.grid.dtype)
            return round_up(np.array(high / self.grid.largest), self.dtype), zero
        scale = round_up(np.array((high - low) / 255), self.dtype)
        return scale, np.round(np.clip(-low / scale, 0, 255)).astype(np.uint8)

    def _constant(
        self, stem: str, values: npt.NDArray[Any], scale: Floats, axis: int
    ) -> Iterator[onnx.NodeProto]:
        """The node that makes `{stem}_dequantized` of whole numbers in steps of `scale`."""
        if f"{stem}_quantized" in self.made:
            return
        self.made[f"{stem}_quantized"] = values
        parameters = self._parameters(stem, scale, np.zeros(scale.shape, values.dtype))
        yield helper.make_node(
            "DequantizeLinear",
            [f"{stem}_quantized", *parameters],
            [f"{stem}_dequantized"],
            f"{stem}_dequantize",
            axis=axis if scale.ndim else None,
        )

    def _parameters(
        self, stem: str, scale: Floats, zero_point: npt.NDArray[Any]
    ) -> tuple[str, str]:
        self.made[f"{stem}_scale"] = scale
        self.made[f"{stem}_zero_point"] = zero_point
        return f"{stem}_scale", f"{stem}_zero_point"
