"""Bundles with INT8 files that need no quantizer: float graphs whose output is a little wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from frcrn_export.runtime.bundle.manifest import (
    QUANTIZED,
    FileEntry,
    GateResult,
    Precision,
    QuantizationInfo,
    Target,
)
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from tests.bundles import write_manifest

GATES = (
    GateResult(name="pesq", limit=0.1, value=0.0123, passed=True),
    GateResult(name="core_snr", limit=20, value=13.5, passed=False),
    GateResult(name="speed", limit=1, value=None, passed=None),
)


def quantization(target: Target = "cpu", **changes: object) -> QuantizationInfo:
    made = QuantizationInfo(
        target=target,
        method="percentile",
        clips=64,
        clips_sha256="ab" * 32,
        seed=3,
        layers=12,
        candidates=16,
        share=0.9,
        gates=GATES,
    )
    return msgspec.structs.replace(made, **changes)


def perturbed(model: onnx.ModelProto, relative: float, seed: int = 0) -> onnx.ModelProto:
    """A model with its floating-point weights off by so much, at random."""
    rng = np.random.default_rng(seed)

    def off(values: np.ndarray) -> np.ndarray:
        return values * (1 + relative * rng.choice([-1.0, 1.0], values.shape))

    return _with_weights(model, off)


def scaled(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """A model with its one output multiplied: an error that is the same for every input."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    output = changed.graph.output[0].name
    for node in changed.graph.node:
        node.output[:] = [f"{name}.exact" if name == output else name for name in node.output]
        node.input[:] = [f"{name}.exact" if name == output else name for name in node.input]
    factor_tensor = numpy_helper.from_array(np.float32(factor), "int8.factor")
    changed.graph.initializer.append(factor_tensor)
    changed.graph.node.append(helper.make_node("Mul", [f"{output}.exact", "int8.factor"], [output]))
    return changed


def add_int8(
    root: Path,
    change: Callable[[onnx.ModelProto], onnx.ModelProto],
    target: Target = "cpu",
    source: str = "core.onnx",
    precision: Precision = "int8",
    **made: object,
) -> FileEntry:
    """Add to a bundle what is said to be INT8, or `precision`, made of one of its files."""
    described = open_bundle(root).manifest
    entry = next(entry for entry in described.files if entry.path == source)
    kind = f"int8.{target}" if precision == "int8" else precision
    name = source.replace(".onnx", f".{kind}.onnx")
    onnx.save(change(onnx.load(root / source)), root / name)
    added = msgspec.structs.replace(
        entry,
        path=name,
        precision=precision,
        sha256=sha256_of(root / name),
        bytes=(root / name).stat().st_size,
        quantization=quantization(target, **made) if precision in QUANTIZED else None,
    )
    write_manifest(root, msgspec.structs.replace(described, files=(*described.files, added)))
    return added


def _with_weights(
    model: onnx.ModelProto, change: Callable[[np.ndarray], np.ndarray]
) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            new = change(values).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    return changed
