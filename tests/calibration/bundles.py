"""A bundle whose core has layers for INT8, made in a moment; and speeds for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
from onnx import numpy_helper

from frcrn_export.calibration.speed import Speed
from frcrn_export.runtime.bundle.manifest import (
    FileEntry,
    Level,
    Padding,
    Precision,
    StateSpec,
    StreamingInfo,
    Weights,
)
from frcrn_export.runtime.bundle.reader import sha256_of
from tests.bundles import core_entry, manifest, write_manifest
from tests.calibration.graphs import RECURRENT_HIDDEN, masking_network, recurrent_network

TRAINED = Weights(source="checkpoint", name="best.pt", sha256="0" * 64)
# What a processor can compute in INT8 of it; for TensorRT all but the depthwise one.
LAYERS = ["encoder", "depthwise", "grouped", "parallel"]
# What of it can be in uint8 on a processor.
SIGNALS = [
    "analysis.out",
    "encoder.out",
    "excited",
    "depthwise.out",
    "grouped.out",
    "parallel.out",
]
# Why the others compute in float32.
KEPT = {
    "analysis": "reads the input itself",
    "squeeze": "makes gains of means",
    "excite": "makes gains of means",
    "mask": "makes the mask",
}

CHUNK = 64  # samples a call of the recurrent network, 8 frames


def write_masking_bundle(
    path: Path,
    *,
    fp16: bool = False,
    level: Level = "peak",
    weights: Weights | None = None,
) -> Path:
    """The network of graphs.py, with `fp16` in float16 as well. Random weights by default."""
    described = manifest(level=level, padding=Padding(rule="multiple", size=8))
    path.mkdir(parents=True)
    precisions: tuple[Precision, ...] = ("fp32", "fp16") if fp16 else ("fp32",)
    changed = msgspec.structs.replace(
        described,
        model="wave-unet-16k",
        files=tuple(_core(path, precision) for precision in precisions),
        weights=weights or described.weights,
    )
    write_manifest(path, changed)
    return path


def write_recurrent_bundle(path: Path, kind: str) -> Path:
    """The recurrent network of graphs.py, offline and streaming, in both precisions."""
    path.mkdir(parents=True)
    described = manifest(level="peak", padding=Padding(rule="multiple", size=8))
    files = []
    for streaming in (False, True):
        for fp16 in (False, True):
            name = f"core{'.streaming' * streaming}{'.fp16' * fp16}.onnx"
            onnx.save(_responsive(recurrent_network(kind, streaming, fp16)), path / name)
            entry = core_entry(path=name)
            wave, enhanced = entry.inputs[0], entry.outputs[0]
            wave = msgspec.structs.replace(wave, name="wave")
            if streaming:
                frame = ("batch", 1, CHUNK)
                wave = msgspec.structs.replace(wave, shape=frame)
                enhanced = msgspec.structs.replace(enhanced, shape=frame)
            changed = msgspec.structs.replace(
                entry,
                role="core_streaming" if streaming else "core",
                precision="fp16" if fp16 else "fp32",
                inputs=(wave,),
                outputs=(enhanced,),
                sha256=sha256_of(path / name),
                bytes=(path / name).stat().st_size,
                streaming=_recurrent_streaming(kind) if streaming else None,
            )
            files.append(changed)
    named = msgspec.structs.replace(described, model="wave-unet-16k", files=tuple(files))
    write_manifest(path, named)
    return path


def _recurrent_streaming(kind: str) -> StreamingInfo:
    states = tuple(
        StateSpec(name=name, next=f"{name}.next", shape=("batch", 1, RECURRENT_HIDDEN))
        for name in ("state0", "state1")[: 1 if kind == "GRU" else 2]
    )
    return StreamingInfo(chunk=CHUNK, lookahead=0, states=states)


def _core(root: Path, precision: Precision) -> FileEntry:
    path = root / ("core.onnx" if precision == "fp32" else "core.fp16.onnx")
    onnx.save(_responsive(masking_network(fp16=precision == "fp16")), path)
    entry = core_entry(path=path.name)
    wave = msgspec.structs.replace(entry.inputs[0], name="wave")
    return msgspec.structs.replace(
        entry,
        precision=precision,
        inputs=(wave,),
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
    )


def _responsive(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without biases, which would be the same however wrong all else is, and with a steep mask."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith((".bias", "mask.weight")):
            factor = 20.0 if tensor.name == "mask.weight" else 0.0
            values = numpy_helper.to_array(tensor)
            scaled = (factor * values).astype(values.dtype)
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    return model


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a folder; nothing else lies beside a bundle either."""
    assert [path.name for path in root.parent.iterdir() if path.name.startswith(".")] == []
    return {path.name: path.read_bytes() for path in root.iterdir()}


def speed(ratio: float) -> Speed:
    return Speed(ratio, ratio - 0.1, ratio + 0.1, 10.0, 10.0 / ratio, 1.5, 1, 15)
