"""Tiny cores as ONNX files, so that a real engine is built in a fraction of a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
from frcrn_export.calibration.graph.qdq import quantize
from frcrn_export.calibration.histogram import histogram
from frcrn_export.engines.options import BuildOptions
from frcrn_export.engines.targets import find_targets
from frcrn_export.runtime.bundle.manifest import Profile, TensorrtBackend

BINS = 65
PROFILE = Profile(min=(1, 2, BINS, 1), opt=(1, 2, BINS, 10), max=(2, 2, BINS, 20))


def options(backend: TensorrtBackend = "tensorrt-rtx", **changes: object) -> BuildOptions:
    targets = find_targets(str(changes.pop("gpu", "rtx4090d")))
    fields = {"backend": backend, "targets": targets, "profile": PROFILE} | changes
    return BuildOptions(**fields)  # type: ignore[arg-type]


def tiny_core(path: Path, *, fp16: bool = True, **changes: object) -> Path:
    """Two convolutions over spec [batch, 2, BINS, frames], the float16 form with a float32 mask."""
    onnx.save(tiny_model(fp16=fp16, **changes), path)  # type: ignore[arg-type]
    return path


def tiny_int8_core(path: Path, precision: QuantizedPrecision = "int8") -> Path:
    """The float16 form with its second convolution in INT8."""
    ranges = {"relu": histogram(np.array([-0.1, 9.0], np.float32))}
    model = quantize(tiny_model(), ["node_conv2d_1"], ranges, "minmax", precision)
    onnx.save(model, path)
    return path


def tiny_model(
    *,
    fp16: bool = True,
    input_name: str = "spec",
    extra_nodes: tuple[onnx.NodeProto, ...] = (),
    extra_inputs: tuple[onnx.ValueInfoProto, ...] = (),
    output_type: int = TensorProto.FLOAT,
    broken_channels: int = 0,
) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    dtype = np.float16 if fp16 else np.float32
    kernel = random.standard_normal((8, 2 + broken_channels, 5, 1)).astype(dtype)
    weights = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(random.standard_normal((2, 8, 1, 1)).astype(dtype), "kernel_1"),
    ]
    last = "conv_1" if fp16 else "mask"
    nodes = [
        helper.make_node(
            "Conv", ["spec_fp16" if fp16 else input_name, "kernel"], ["conv"], "node_conv2d",
            pads=[2, 0, 2, 0],
        ),
        helper.make_node("LeakyRelu", ["conv"], ["relu"], "node_leaky_relu"),
        helper.make_node("Conv", ["relu", "kernel_1"], [last], "node_conv2d_1"),
    ]  # fmt: skip
    if fp16:
        to_fp16 = {"to": TensorProto.FLOAT16}
        to_float = {"to": TensorProto.FLOAT}
        nodes.insert(0, helper.make_node("Cast", [input_name], ["spec_fp16"], "to_fp16", **to_fp16))
        nodes.append(helper.make_node("Cast", ["conv_1"], ["mask"], "to_float", **to_float))
    nodes.append(helper.make_node("Mul", ["mask", input_name], ["enhanced"], "node_mul"))
    shape = ["batch", 2, BINS, "frames"]
    graph = helper.make_graph(
        [*nodes, *extra_nodes],
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape), *extra_inputs],
        [helper.make_tensor_value_info("enhanced", output_type, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
