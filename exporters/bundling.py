"""Exporting: write the files of a bundle, describe them, compare them, and only then keep them."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec
import onnx

from frcrn_export.exporters.artifacts import core_graph, inline_graph, post_graph, pre_graph
from frcrn_export.exporters.inline_graph import inline_model
from frcrn_export.exporters.live_parity import check_live
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.long_core import (
    LONG_ABOVE_FRAMES,
    export_long_core,
    has_long_core,
    long_core_tensors,
)
from frcrn_export.exporters.onnx_export import Graph, export_onnx
from frcrn_export.exporters.parity_report import require_parity
from frcrn_export.exporters.parity_vectors import write_vectors
from frcrn_export.exporters.staging import staged_bundle
from frcrn_export.exporters.torchscript_export import export_torchscript
from frcrn_export.runtime.bundle import Bundle, open_bundle, sha256_of
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Format,
    Manifest,
    Role,
)
from frcrn_export.runtime.parity import check_bundle

StftPlacement = Literal["split", "inline"]
Progress = Callable[[str], None]

_TOOLS = ("frcrn-export", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy")
PARITY_NAME = "parity.npz"
INLINE_SECONDS = 120


def export_onnx_bundle(
    model: LoadedModel,
    destination: Path,
    *,
    stft: StftPlacement = "split",
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Write a bundle of ONNX files and keep it if every comparison passes.

    `split`: `core.onnx`, for spectral networks `pre.onnx` and `post.onnx`, for FRCRN
    `core.long.onnx`. `inline`: one `denoiser.onnx` from raw waveform to waveform. Raises
    CheckFailed, with nothing left behind, on a parity miss; UserError if something is in the way.
    """
    with staged_bundle(destination, force=force) as folder:
        progress("exporting")
        files = _inline_files(model, folder) if stft == "inline" else _split_files(model, folder)
        progress("running the reference")
        write_vectors(model, folder / PARITY_NAME)
        files.append(_entry(folder, PARITY_NAME, "parity", "npz"))
        manifest = _manifest(model, tuple(files))
        if stft == "inline":
            manifest = _without_windows(manifest)
        _prove(folder, manifest, model, progress)
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
    present = _present(model, destination, force)
    with staged_bundle(destination, force=force, keep=present is not None) as folder:
        progress("exporting")
        graph = core_graph(model)
        export_torchscript(graph.module, graph.example, folder / "core.pt")
        added = _entry(folder, "core.pt", "core", "torchscript", graph)
        if present is None:
            progress("running the reference")
            write_vectors(model, folder / PARITY_NAME)
            vectors = _entry(folder, PARITY_NAME, "parity", "npz")
            manifest = _manifest(model, (added, vectors))
        else:
            others = tuple(entry for entry in present.files if entry.path != added.path)
            manifest = msgspec.structs.replace(present, files=(*others, added))
        _prove(folder, manifest, model, progress)
    return open_bundle(destination)


def _split_files(model: LoadedModel, folder: Path) -> list[FileEntry]:
    graphs: list[tuple[Role, Graph]] = [("core", core_graph(model))]
    if model.spec.stft is not None:
        graphs += [("pre", pre_graph(model.spec.stft)), ("post", post_graph(model.spec.stft))]
    files = []
    for role, graph in graphs:
        path = folder / f"{role}.onnx"
        onnx.save(export_onnx(graph, f"{model.spec.name}-{role}", _metadata(model)), path)
        files.append(_entry(folder, path.name, role, "onnx", graph))
    if has_long_core(model):
        files.append(_long_core(model, folder))
    return files


def _long_core(model: LoadedModel, folder: Path) -> FileEntry:
    path = folder / "core.long.onnx"
    onnx.save(export_long_core(model, f"{model.spec.name}-core-long", _metadata(model)), path)
    source, target = long_core_tensors(model)
    entry = _entry(folder, path.name, "core_long", "onnx")
    return msgspec.structs.replace(
        entry, inputs=(source,), outputs=(target,), above_frames=LONG_ABOVE_FRAMES
    )


def _inline_files(model: LoadedModel, folder: Path) -> list[FileEntry]:
    graph = inline_graph(model)
    network = export_onnx(graph, f"{model.spec.name}-network", {})
    whole = inline_model(network, model.processing.level, model.processing.padding)
    onnx.helper.set_model_props(whole, _metadata(model))
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, folder / "denoiser.onnx")
    return [_entry(folder, "denoiser.onnx", "pipeline", "onnx", graph)]


def _metadata(model: LoadedModel) -> dict[str, str]:
    return {
        "model": model.spec.name,
        "version": version("frcrn-export"),
        "weights": model.weights.name,
        "weights_sha256": model.weights.sha256 or "",
    }


def _entry(
    folder: Path, name: str, role: Role, format: Format, graph: Graph | None = None
) -> FileEntry:
    path = folder / name
    return FileEntry(
        path=name,
        role=role,
        format=format,
        precision="fp32",
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        inputs=(graph.input,) if graph else (),
        outputs=(graph.output,) if graph else (),
    )


def _manifest(model: LoadedModel, files: tuple[FileEntry, ...]) -> Manifest:
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


def _prove(folder: Path, manifest: Manifest, model: LoadedModel, progress: Progress) -> None:
    """Compare everything in the folder with the reference and write the results down."""
    progress("comparing with the reference")
    (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
    bundle = open_bundle(folder)
    results = (*check_bundle(bundle), *check_live(bundle, model))
    require_parity(results)
    proven = msgspec.structs.replace(manifest, parity=results)
    (folder / MANIFEST_NAME).write_bytes(proven.to_json())


def _present(model: LoadedModel, destination: Path, force: bool) -> Manifest | None:
    """The manifest of the bundle that is to be added to, if there is one."""
    if not (destination / MANIFEST_NAME).is_file():
        return None
    manifest = open_bundle(destination).manifest
    if (manifest.model, manifest.weights) != (model.spec.name, model.weights):
        raise UserError(
            f"{destination} holds {manifest.model} with the weights {manifest.weights.name}, not "
            f"{model.spec.name} with {model.weights.name}; choose another path with -o"
        )
    if manifest.file("core", "torchscript") and not force:
        raise UserError(f"{destination}/core.pt exists; add --force to replace it")
    return manifest
