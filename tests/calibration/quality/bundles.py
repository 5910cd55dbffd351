"""Bundles to judge: what is in them multiplies, or gives NaN."""

import shutil
from pathlib import Path

import msgspec

from frcrn_export.runtime.bundle.reader import open_bundle
from tests.bundles import write_bundle, write_manifest


def write_precisions(path: Path, gain: float = 1.0) -> Path:
    """A bundle with core.onnx and, said to be in float16, core.fp16.onnx."""
    write_bundle(path, gain=gain)
    described = open_bundle(path).manifest
    entry = described.files[0]
    shutil.copy(path / entry.path, path / "core.fp16.onnx")
    fp16 = msgspec.structs.replace(entry, path="core.fp16.onnx", precision="fp16")
    write_manifest(path, msgspec.structs.replace(described, files=(entry, fp16)))
    return path
