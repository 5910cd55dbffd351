"""Exporting: write the files of a bundle, describe them, compare them, and only then keep them."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec

from frcrn_export.exporters.bundle_files import (
    HALF_NAME,
    TORCHSCRIPT_NAME,
    half_file,
    half_streaming_file,
    inline_files,
    parity_file,
    split_files,
    streaming_file,
    torchscript_file,
)
from frcrn_export.exporters.family import Variant
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.reference_parity import check_reference
from frcrn_export.exporters.streaming_export import (
    HALF_STREAMING_NAME,
    StreamingOptions,
    bundled_options,
    streaming_core,
)
from frcrn_export.exporters.verify import require_parity
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.bundle.remedies import streaming_hint
from frcrn_export.runtime.bundle.transaction import staged_bundle
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.verify.parity import check_bundle

StftPlacement = Literal["split", "inline"]
Progress = Callable[[str], None]

_TOOLS = ("frcrn-export", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy")
INLINE_SECONDS = 120


def export_onnx_bundle(
    model: LoadedModel,
    destination: Path,
    *,
    stft: StftPlacement = "split",
    half: bool = False,
    streaming: StreamingOptions | None = None,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Write a bundle of ONNX files and keep it if every comparison passes.

    `split`: `core.onnx`, for spectral networks `pre.onnx` and `post.onnx`, for FRCRN
    `core.long.onnx`; with `half` also `core.fp16.onnx`, with `streaming` also
    `core.streaming.onnx`, with both `core.streaming.fp16.onnx` as well. `inline`: one
    `denoiser.onnx` from raw waveform to waveform. Raises CheckFailed, with nothing left behind, on
    a parity miss; UserError if something is in the way, the disk is full or the network cannot
    stream.
    """
    if half and stft == "inline":
        raise UserError("--stft inline has no float16 form; leave out --fp16 or --stft inline")
    if streaming and stft == "inline":
        raise UserError("--stft inline has no state; leave out --streaming or --stft inline")
    core = streaming_core(model, streaming) if streaming else None
    with staged_bundle(destination, force=force) as folder:
        progress("exporting")
        files = inline_files(model, folder) if stft == "inline" else split_files(model, folder)
        if half:
            progress("exporting in float16")
            files.append(half_file(model, folder))
        if core and streaming:
            progress("exporting the streaming core")
            files.append(streaming_file(model, core, folder))
            if half:
                files.append(half_streaming_file(model, folder, streaming))
        progress("running the reference")
        files.append(parity_file(model, folder, core))
        manifest = manifest_of(model, tuple(files))
        if stft == "inline":
            manifest = _without_windows(manifest)
        _prove(folder, manifest, manifest.files, model, progress)
    return open_bundle(destination)


def export_torchscript_bundle(
    model: LoadedModel,
    destination: Path,
    *,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Write `core.pt` into a bundle of its own, or add it to a bundle of the same weights.

    Raises as `export_onnx_bundle` does; UserError also where the bundle there is of another model
    or already has a `core.pt` (unless `force`).
    """
    if (destination / MANIFEST_NAME).is_file():
        return _add(model, destination, TORCHSCRIPT_NAME, torchscript_file, force, progress)
    with staged_bundle(destination, force=force) as folder:
        progress("exporting")
        files = [torchscript_file(model, folder)]
        progress("running the reference")
        files.append(parity_file(model, folder))
        manifest = manifest_of(model, tuple(files))
        _prove(folder, manifest, manifest.files, model, progress)
    return open_bundle(destination)


def add_half_core(
    model: LoadedModel,
    destination: Path,
    *,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Add `core.fp16.onnx` to a bundle of the same weights. Raises as the functions above."""
    return _add(model, destination, HALF_NAME, half_file, force, progress)


def add_half_streaming_core(
    model: LoadedModel,
    destination: Path,
    *,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Add `core.streaming.fp16.onnx` to a bundle that has `core.streaming.onnx`.

    Raises as the functions above.
    """
    present = open_bundle(destination).manifest
    options = bundled_options(present)
    if options is None:
        hint = streaming_hint(present, "onnx --fp16")
        raise UserError(f"{destination}: no streaming core in this bundle; {hint}")
    write = partial(half_streaming_file, options=options)
    return _add(model, destination, HALF_STREAMING_NAME, write, force, progress)


def _add(
    model: LoadedModel,
    destination: Path,
    name: str,
    write: Callable[[LoadedModel, Path], FileEntry],
    force: bool,
    progress: Progress,
) -> Bundle:
    """Add one file to a bundle; what is there keeps its results."""
    present = open_bundle(destination).manifest
    require_same_weights(present, model, destination)
    others = tuple(entry for entry in present.files if entry.path != name)
    if len(others) < len(present.files) and not force:
        raise UserError(f"{destination / name} exists; add --force to replace it")
    with staged_bundle(destination, force=force, keep=True) as folder:
        progress(f"exporting {name}")
        added = write(model, folder)
        vectors = tuple(entry for entry in others if entry.role == "parity")
        manifest = msgspec.structs.replace(present, files=(*others, added))
        _prove(folder, manifest, (added, *vectors), model, progress)
    return open_bundle(destination)


def manifest_of(model: LoadedModel, files: tuple[FileEntry, ...]) -> Manifest:
    """The manifest of a bundle of these files."""
    return Manifest(
        model=model.spec.name,
        variant=model.variant,
        domain="waveform" if model.spec.stft is None else "spectrum",
        weights=model.weights,
        sample_rate=model.sample_rate,
        stft=model.spec.stft,
        level=model.processing.level,
        padding=model.processing.padding,
        segments=model.processing.segments,
        files=files,
        tools={name: found for name in _TOOLS if (found := _version(name))},
    )


def _without_windows(manifest: Manifest) -> Manifest:
    """One file sees whole utterances only: as long as FRCRN's, which are the longest."""
    above = max(manifest.segments.above, INLINE_SECONDS * manifest.sample_rate)
    segments = msgspec.structs.replace(manifest.segments, above=above)
    return msgspec.structs.replace(manifest, segments=segments)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _prove(
    folder: Path,
    manifest: Manifest,
    files: tuple[FileEntry, ...],
    model: LoadedModel,
    progress: Progress,
) -> None:
    """Compare these files of the folder with the reference and write the results down."""
    progress("comparing with the reference")
    (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
    open_bundle(folder)
    # We wrote these files: TorchScript among them may be opened.
    subject = Bundle(folder, msgspec.structs.replace(manifest, files=files), trusted=True)
    results = (*check_bundle(subject), *check_reference(subject, model))
    require_parity(results)
    (folder / MANIFEST_NAME).write_bytes(manifest.with_parity(results).to_json())


def require_same_weights(present: Manifest, model: LoadedModel, destination: Path) -> None:
    """Raise UserError where the bundle at `destination` was not made from this model."""
    if present.model == model.spec.name and present.variant != model.variant:
        raise UserError(
            f"{destination} holds {present.model} as {_text(present.variant)}, not as "
            f"{_text(model.variant)}; choose another path with -o"
        )
    if (present.model, present.weights) != (model.spec.name, model.weights):
        raise UserError(
            f"{destination} holds {present.model} with the weights {present.weights.name}, not "
            f"{model.spec.name} with {model.weights.name}; choose another path with -o"
        )


def _text(variant: Variant) -> str:
    return ", ".join(f"{name} {value}" for name, value in variant.items())
