"""The source of an INT8 file: a float graph in the form that is fastest on its target."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
from frcrn_export.calibration.graph.transposed import lower_transposed
from frcrn_export.calibration.settings import Progress
from frcrn_export.exporters.onnx_versions import OPSET, raise_opset
from frcrn_export.runtime.bundle.manifest import FileEntry, Role, Target
from frcrn_export.runtime.bundle.onnx_file import foreign_part
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import make_again, onnx_command, streaming_hint
from frcrn_export.runtime.errors import UserError, reading

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel


def int8_name(target: Target, streaming: bool, precision: QuantizedPrecision = "int8") -> str:
    """The name of the INT8 or FP8 file for a target."""
    core = "core.streaming" if streaming else "core"
    return f"{core}.{precision}.cpu.onnx" if target == "cpu" else f"{core}.{precision}.onnx"


@dataclass(frozen=True)
class Source:
    """A float graph, the entry with its I/O signature, and the float32 core as reference."""

    model: onnx.ModelProto
    entry: FileEntry
    float32: FileEntry


def find_source(
    bundle: Bundle,
    target: Target,
    streaming: bool,
    load: "Callable[[], LoadedModel]",
) -> Source:
    """The graph that the INT8 or FP8 file of a bundle is made from.

    For TensorRT `core.fp16.onnx`: other layers stay in float16. For processors `core.onnx`, or the
    family's own form of the network, which `load` gives. Raises UserError for a bundle without a
    float core, and as `load`.
    """
    role: Role = "core_streaming" if streaming else "core"
    float32 = bundle.manifest.file(role, "onnx")
    if float32 is None:
        raise UserError(_without_core(bundle, streaming))
    if target == "tensorrt":
        entry = bundle.manifest.file(role, "onnx", "fp16")
        assert entry is not None, "see with_fp16_core"
        return Source(_lowered(bundle, entry), entry, float32)
    if _has_own_form(bundle.manifest.model):
        from frcrn_export.exporters.artifacts import int8_source

        model, entry = int8_source(load(), float32)
        return Source(model, entry, float32)
    return Source(_lowered(bundle, float32), float32, float32)


def _lowered(bundle: Bundle, entry: FileEntry) -> onnx.ModelProto:
    path, remedy = bundle.file(entry), f"run: {make_again(bundle.path, bundle.manifest, entry)}"
    with reading(path, "not an ONNX file that can be calibrated", remedy):
        if (foreign := foreign_part(path)) is not None:
            raise ValueError(f"it holds {foreign}")
        model = onnx.load(path, load_external_data=False)
        raise_opset(model, OPSET)
        return lower_transposed(model)


def _without_core(bundle: Bundle, streaming: bool) -> str:
    manifest = bundle.manifest
    kind = "streaming core" if streaming else "core"
    hint = streaming_hint(manifest) if streaming else f"run: {onnx_command(manifest)}"
    return f"{bundle.path}: no float32 {kind} as ONNX in this bundle to calibrate; {hint}"


def with_fp16_core(
    bundle: Bundle, streaming: bool, load: "Callable[[], LoadedModel]", progress: Progress
) -> Bundle:
    """The bundle with a float16 core; a missing one is exported and verified.

    Raises UserError for a bundle without a float32 core, CheckFailed where the float16 one misses
    parity, and as `load`.
    """
    role: Role = "core_streaming" if streaming else "core"
    if bundle.manifest.file(role, "onnx") is None:
        raise UserError(_without_core(bundle, streaming))
    if bundle.manifest.file(role, "onnx", "fp16") is not None:
        return bundle
    model = load()
    from frcrn_export.exporters.bundle import add_fp16_core, add_fp16_streaming_core

    add = add_fp16_streaming_core if streaming else add_fp16_core
    return add(model, bundle, progress=lambda step: progress(step, 0, 1))


def reference_model(
    bundle: Bundle, checkpoint: Path | None, what: str, command: str
) -> "LoadedModel":
    """The reference network of a bundle, to make `what` from it, as `command` does.

    Raises UserError where its weights are missing.
    """
    from frcrn_export.exporters.verify import load_reference

    reason = f"{bundle.path}: {what} of {bundle.manifest.model} is made from the network itself"
    return load_reference(bundle.manifest, checkpoint, reason, command)


def _has_own_form(model: str) -> bool:
    from frcrn_export.exporters.registry import registry

    family = registry().family_of_model.get(model)
    return family is not None and family.has_int8_cpu_form
