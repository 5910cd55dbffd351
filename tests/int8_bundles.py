"""Bundles with an INT8 or FP8 core, quantized in a moment, without calibration recordings."""

from pathlib import Path

import msgspec
import numpy as np
import onnx

from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
from frcrn_export.calibration.graph.layers import int8_layers, quantizable
from frcrn_export.calibration.graph.qdq import quantize, quantized_tensors
from frcrn_export.calibration.graph.transposed import lower_transposed
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    FileEntry,
    GateResult,
    QuantizationInfo,
    Role,
)
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from tests.calibration.graphs import Arrays, ranges_of

GATES = (
    GateResult(name="pesq", limit=0.1, value=0.01, passed=True),
    GateResult(name="speed", limit=1.0, value=None, passed=None),
)


def add_int8(path: Path, role: Role = "core", precision: QuantizedPrecision = "int8") -> FileEntry:
    """Quantize a bundle's core for TensorRT, by its response to noise, and enter it."""
    manifest = open_bundle(path).manifest
    source = manifest.file(role, "onnx", "fp16")
    assert source is not None
    model = lower_transposed(onnx.load(path / source.path))
    layers = [layer.name for layer in quantizable(model, "tensorrt")]
    ranges = ranges_of(model, quantized_tensors(model, layers), [_noise(model)])
    name = source.path.replace("fp16", precision)
    onnx.save(quantize(model, layers, ranges, "minmax", precision), path / name)
    entry = msgspec.structs.replace(
        source,
        path=name,
        precision=precision,
        sha256=sha256_of(path / name),
        bytes=(path / name).stat().st_size,
        quantization=QuantizationInfo(
            target="tensorrt",
            method="minmax",
            clips=1,
            clips_sha256="0" * 64,
            seed=0,
            layers=len(layers),
            candidates=len(int8_layers(model, "tensorrt")),
            share=0.5,
            gates=GATES,
        ),
    )
    manifest = msgspec.structs.replace(manifest, files=(*manifest.files, entry))
    (path / MANIFEST_NAME).write_bytes(manifest.to_json())
    return entry


def _noise(model: onnx.ModelProto) -> Arrays:
    random = np.random.default_rng(0)
    return {
        value.name: random.standard_normal(
            [d.dim_value or (1 if d.dim_param == "batch" else 1280) for d in _dims(value)]
        ).astype(np.float32)
        for value in model.graph.input
    }


def _dims(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim)
