"""Writing the files of a bundle into a folder, each with its entry for the manifest."""

from importlib.metadata import version
from pathlib import Path

import msgspec
import onnx

from frcrn_export.exporters.family import ExtraCore
from frcrn_export.exporters.graphs import (
    core_graph,
    half_graph,
    inline_graph,
    post_graph,
    pre_graph,
)
from frcrn_export.exporters.inline_graph import inline_model
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_export import Graph, export_onnx
from frcrn_export.exporters.parity_vectors import write_vectors
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.exporters.streaming_export import (
    HALF_STREAMING_NAME,
    STREAMING_NAME,
    StreamingOptions,
    export_streaming,
    streaming_core,
    streaming_info,
    streaming_tensors,
)
from frcrn_export.exporters.torchscript_export import export_torchscript
from frcrn_export.runtime.bundle.manifest import FileEntry, Format, Precision, Role, TensorSpec
from frcrn_export.runtime.bundle.reader import sha256_of

_PARITY_NAME = "parity.npz"
HALF_NAME = "core.fp16.onnx"
TORCHSCRIPT_NAME = "core.pt"


def split_files(model: LoadedModel, folder: Path) -> list[FileEntry]:
    """The core, its pre and post ops, and the core for long utterances where there is one."""
    graphs: list[tuple[Role, Graph]] = [("core", core_graph(model))]
    if model.spec.stft is not None:
        graphs += [("pre", pre_graph(model.spec.stft)), ("post", post_graph(model.spec.stft))]
    files = []
    for role, graph in graphs:
        path = folder / f"{role}.onnx"
        onnx.save(export_onnx(graph, f"{model.spec.name}-{role}", metadata(model)), path)
        files.append(file_entry(folder, path.name, role, "onnx", graph))
    for extra in model.family.extra_cores(model.spec, model.network):
        files.append(_extra_core(model, extra, folder))
    return files


def half_file(model: LoadedModel, folder: Path) -> FileEntry:
    """The core for GPUs, strongly typed: float16 inside, float32 in and out."""
    graph = half_graph(model)
    name = f"{model.spec.name}-core-fp16"
    onnx.save(export_onnx(graph, name, metadata(model)), folder / HALF_NAME)
    return file_entry(folder, HALF_NAME, "core", "onnx", graph, "fp16")


def streaming_file(
    model: LoadedModel, core: StreamingCore, folder: Path, precision: Precision = "fp32"
) -> FileEntry:
    """The core that takes a stream call by call."""
    half = precision == "fp16"
    path = folder / (HALF_STREAMING_NAME if half else STREAMING_NAME)
    name = f"{model.spec.name}-core-streaming" + ("-fp16" if half else "")
    onnx.save(export_streaming(model, core, name, metadata(model)), path)
    given, enhanced = streaming_tensors(model, core)
    return msgspec.structs.replace(
        file_entry(folder, path.name, "core_streaming", "onnx", precision=precision),
        inputs=(given,),
        outputs=(enhanced,),
        streaming=streaming_info(core),
    )


def half_streaming_file(model: LoadedModel, folder: Path, options: StreamingOptions) -> FileEntry:
    """The streaming core for GPUs, strongly typed: float16 inside, float32 tensors and states."""
    return streaming_file(model, streaming_core(model, options, half=True), folder, "fp16")


def torchscript_file(model: LoadedModel, folder: Path) -> FileEntry:
    """The core as TorchScript."""
    graph = core_graph(model)
    export_torchscript(graph.module, graph.example, folder / TORCHSCRIPT_NAME)
    return file_entry(folder, TORCHSCRIPT_NAME, "core", "torchscript", graph)


def parity_file(
    model: LoadedModel, folder: Path, streaming: StreamingCore | None = None
) -> FileEntry:
    """The parity vectors."""
    write_vectors(model, folder / _PARITY_NAME, streaming)
    return file_entry(folder, _PARITY_NAME, "parity", "npz")


def _extra_core(model: LoadedModel, extra: ExtraCore, folder: Path) -> FileEntry:
    """A further form of the core: one utterance at a time."""
    assert model.spec.stft is not None
    name = extra.role.replace("core_", "core.")
    path = folder / f"{name}.onnx"
    graph_name = f"{model.spec.name}-{name.replace('.', '-')}"
    onnx.save(extra.export(graph_name, metadata(model)), path)
    shape = (1, 2, model.spec.stft.bins, "frames")
    source, target = (
        TensorSpec(name=tensor, dtype="float32", shape=shape) for tensor in ("spec", "enhanced")
    )
    return msgspec.structs.replace(
        file_entry(folder, path.name, extra.role, "onnx"),
        inputs=(source,),
        outputs=(target,),
        above_frames=extra.above_frames,
    )


def inline_files(model: LoadedModel, folder: Path) -> list[FileEntry]:
    """The whole pipeline in one file."""
    graph = inline_graph(model)
    network = export_onnx(graph, f"{model.spec.name}-network", {})
    whole = inline_model(network, model.processing.level, model.processing.padding)
    onnx.helper.set_model_props(whole, metadata(model))
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, folder / "denoiser.onnx")
    return [file_entry(folder, "denoiser.onnx", "pipeline", "onnx", graph)]


def metadata(model: LoadedModel) -> dict[str, str]:
    """What ONNX files say of the model that they hold."""
    return {
        "sample_rate": str(model.sample_rate),
        "model": model.spec.name,
        "version": version("frcrn-export"),
        "weights": model.weights.name,
        "weights_sha256": model.weights.sha256 or "",
    }


def file_entry(
    folder: Path,
    name: str,
    role: Role,
    format: Format,
    graph: Graph | None = None,
    precision: Precision = "fp32",
) -> FileEntry:
    """Describe a file that lies in the folder."""
    path = folder / name
    return FileEntry(
        path=name,
        role=role,
        format=format,
        precision=precision,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        inputs=(graph.input,) if graph else (),
        outputs=(graph.output,) if graph else (),
    )
