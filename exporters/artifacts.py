"""The table of artifacts: every file that an export can add to a bundle, and its maker.

A file's row decides its parity check: the role gives the stages, the precision the floor (see
`frcrn_export.runtime.verify.parity`).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO

import msgspec
import onnx
import torch

from frcrn_export.exporters.family import ExtraCore
from frcrn_export.exporters.graphs import (
    core_graph,
    fp16_graph,
    inline_graph,
    post_graph,
    pre_graph,
    static_graph,
)
from frcrn_export.exporters.inline_graph import inline_model
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_export import Graph, onnx_from_graph
from frcrn_export.exporters.onnx_versions import lower_versions, with_versions
from frcrn_export.exporters.parity_vectors import parity_npz
from frcrn_export.exporters.quiet import quiet_torch
from frcrn_export.exporters.streaming_export import (
    StreamingForms,
    StreamingOptions,
    onnx_from_streaming,
    streaming_info,
    streaming_tensors,
)
from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.manifest import FileEntry, Format, Precision, Role, TensorSpec
from frcrn_export.runtime.errors import UserError

Made = tuple[bytes, FileEntry]


@dataclass(frozen=True)
class Artifact:
    """One row: a file of a bundle, and the maker of its content and manifest entry.

    `opset` is that of an ONNX file, None for the lowest that its graph needs.
    """

    path: str
    role: Role
    precision: Precision
    maker: "Callable[[Artifact, StreamingForms], Made]"
    format: Format = "onnx"
    opset: int | None = None

    def make(self, forms: StreamingForms) -> Made:
        """Make the file from a model. Raises UserError where the model has no such form."""
        return self.maker(self, forms)

    def title(self, model: LoadedModel) -> str:
        """The name of the graph in an ONNX file."""
        return f"{model.spec.name}-{self.path.removesuffix('.onnx').replace('.', '-')}"

    def entry(self, content: bytes, graph: Graph | None = None) -> FileEntry:
        """Its manifest entry, with the input and output of its graph."""
        tensors = ((graph.input,), (graph.output,)) if graph else ((), ())
        return file_entry(content, self.path, self.role, self.format, self.precision, *tensors)

    def onnx(self, proto: onnx.ModelProto, graph: Graph | None = None) -> Made:
        """An ONNX file and its entry, with the versions that it needs."""
        lower_versions(proto, self.path, self.opset)
        content = proto.SerializeToString(deterministic=True)
        entry = with_versions(self.entry(content, graph), proto)
        return content, entry


def _onnx(
    graph_of: Callable[[LoadedModel], Graph],
) -> Callable[[Artifact, StreamingForms], Made]:
    """The maker of an ONNX file from a graph of the model."""

    def make(row: Artifact, forms: StreamingForms) -> Made:
        graph = graph_of(forms.model)
        proto = onnx_from_graph(graph, row.title(forms.model), metadata(forms.model))
        return row.onnx(proto, graph)

    return make


def _pre(model: LoadedModel) -> Graph:
    assert model.spec.stft is not None
    return pre_graph(model.spec.stft)


def _post(model: LoadedModel) -> Graph:
    assert model.spec.stft is not None
    return post_graph(model.spec.stft)


def _extra_core(extra: ExtraCore) -> Artifact:
    """The row of a family's further form of the core, for one utterance at a time."""

    def make(row: Artifact, forms: StreamingForms) -> Made:
        model = forms.model
        assert model.spec.stft is not None
        proto = extra.export(row.title(model), metadata(model))
        content, entry = row.onnx(proto)
        shape = (1, 2, model.spec.stft.bins, "frames")
        source, target = (
            TensorSpec(name=name, dtype="float32", shape=shape) for name in ("spec", "enhanced")
        )
        entry = msgspec.structs.replace(
            entry, inputs=(source,), outputs=(target,), above_frames=extra.above_frames
        )
        return content, entry

    return Artifact(f"{extra.role.replace('core_', 'core.')}.onnx", extra.role, "fp32", make)


def _streaming(row: Artifact, forms: StreamingForms) -> Made:
    model, core = forms.model, forms.core("fp16" if row.precision == "fp16" else "fp32")
    proto = onnx_from_streaming(model, core, row.title(model), metadata(model))
    content, entry = row.onnx(proto)
    given, enhanced = streaming_tensors(model, core)
    entry = msgspec.structs.replace(
        entry,
        inputs=(given,),
        outputs=(enhanced,),
        streaming=streaming_info(core),
    )
    return content, entry


def _inline(row: Artifact, forms: StreamingForms) -> Made:
    model = forms.model
    graph = inline_graph(model)
    network = onnx_from_graph(graph, f"{model.spec.name}-network", {})
    whole = inline_model(network, model.processing.level, model.processing.padding)
    onnx.helper.set_model_props(whole, metadata(model))
    onnx.checker.check_model(whole, full_check=True)
    return row.onnx(whole, graph)


def _static(row: Artifact, forms: StreamingForms) -> Made:
    assert forms.static is not None
    graph = static_graph(forms.model, forms.static)
    proto = onnx_from_graph(graph, row.title(forms.model), metadata(forms.model))
    return row.onnx(proto, graph)


def _torchscript(row: Artifact, forms: StreamingForms) -> Made:
    graph = core_graph(forms.model)
    content = torchscript_from_graph(graph)
    return content, row.entry(content, graph)


def torchscript_from_graph(graph: Graph) -> bytes:
    """Trace and freeze the module. Dynamic shapes of the module stay dynamic.

    Tracing can bake in the traced length; the parity check at other lengths finds that.
    """
    file = BytesIO()  # torch aborts the process where it cannot write to a path
    with quiet_torch(), torch.inference_mode():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            graph.module.eval(), (graph.example,), check_trace=False
        )
        torch.jit.save(torch.jit.freeze(traced), file)
    return file.getvalue()


def _parity(row: Artifact, forms: StreamingForms) -> Made:
    content = parity_npz(forms)
    return content, row.entry(content)


CORE = Artifact("core.onnx", "core", "fp32", _onnx(core_graph))
PRE = Artifact("pre.onnx", "pre", "fp32", _onnx(_pre))
POST = Artifact("post.onnx", "post", "fp32", _onnx(_post))
FP16_CORE = Artifact("core.fp16.onnx", "core", "fp16", _onnx(fp16_graph))
STATIC_CORE = Artifact("core.static.onnx", "core_static", "fp32", _static)
STREAMING_CORE = Artifact("core.streaming.onnx", "core_streaming", "fp32", _streaming)
FP16_STREAMING_CORE = Artifact("core.streaming.fp16.onnx", "core_streaming", "fp16", _streaming)
INLINE = Artifact("denoiser.onnx", "pipeline", "fp32", _inline)
TORCHSCRIPT = Artifact("core.pt", "core", "fp32", _torchscript, "torchscript")
PARITY = Artifact("parity.npz", "parity", "fp32", _parity, "npz")


def onnx_artifacts(
    model: LoadedModel, *, inline: bool, fp16: bool, streaming: bool, static: bool = False
) -> tuple[Artifact, ...]:
    """The ONNX files of an export, in order. Raises UserError for conflicting options."""
    if inline and fp16:
        raise UserError("--stft inline has no float16 form; leave out --fp16 or --stft inline")
    if inline and streaming:
        raise UserError("--stft inline has no state; leave out --streaming or --stft inline")
    if inline and static:
        raise UserError("--stft inline has no static form; leave out --static or --stft inline")
    if inline:
        return (INLINE,)
    rows = [CORE]
    if model.spec.stft is not None:
        rows += [PRE, POST]
    rows += map(_extra_core, model.family.extra_cores(model.spec, model.network))
    if static:
        rows.append(STATIC_CORE)
    if fp16:
        rows.append(FP16_CORE)
    if streaming:
        rows.append(STREAMING_CORE)
    if streaming and fp16:
        rows.append(FP16_STREAMING_CORE)
    return tuple(rows)


def float32_form(row: Artifact, forms: StreamingForms) -> onnx.ModelProto:
    """The form of a float16 file in float32: layers that fall back take its weights."""
    model = forms.model
    if row.role == "core_streaming":
        return onnx_from_streaming(model, forms.core(), row.title(model), metadata(model))
    module = model.family.exact_gpu_form(model.network)
    graph = dataclasses.replace(core_graph(model), module=module)
    return onnx_from_graph(graph, row.title(model), metadata(model))


def int8_source(model: LoadedModel, core: FileEntry) -> tuple[onnx.ModelProto, FileEntry]:
    """A model in its form for INT8, with the I/O signature of the bundle's float32 `core`.

    A streaming form has states of its own: the entry describes them. It is not a file of a bundle,
    but the source of INT8 files for processors where the family has a form for them. Raises as
    `onnx_from_module`.
    """
    name = f"{model.spec.name}-int8-source"
    if core.streaming is None:
        module = model.family.int8_cpu_form(model.network)
        graph = dataclasses.replace(core_graph(model), module=module)
        return onnx_from_graph(graph, name, metadata(model)), core
    length, info = model.frame_length, core.streaming
    options = StreamingOptions(info.chunk // length, info.lookahead // length)
    streaming = StreamingForms(model, options).core("int8_cpu")
    entry = msgspec.structs.replace(core, streaming=streaming_info(streaming))
    return onnx_from_streaming(model, streaming, name, metadata(model)), entry


def metadata(model: LoadedModel) -> dict[str, str]:
    """The metadata of ONNX files about their model."""
    return {
        "sample_rate": str(model.sample_rate),
        "model": model.spec.name,
        "version": version("frcrn-export"),
        "weights": model.weights.name,
        "weights_sha256": model.weights.sha256 or "",
    }
