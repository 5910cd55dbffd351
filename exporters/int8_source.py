"""What INT8 files for processors are made from, where the float32 core is not the form for it."""

import dataclasses

import msgspec
import onnx

from frcrn_export.exporters.bundle_files import metadata
from frcrn_export.exporters.graphs import core_graph
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_export import export_onnx
from frcrn_export.exporters.streaming_export import (
    StreamingOptions,
    export_streaming,
    streaming_core,
    streaming_info,
)
from frcrn_export.runtime.bundle.manifest import FileEntry


def int8_source(model: LoadedModel, core: FileEntry) -> tuple[onnx.ModelProto, FileEntry]:
    """A model in the form for INT8, called as the bundle's float32 `core` is; streaming or not.

    Its states, if any, are others: the entry describes them. Raises as `export_module`.
    """
    name = f"{model.spec.name}-int8-source"
    if core.streaming is None:
        module = model.family.int8_cpu_form(model.network)
        graph = dataclasses.replace(core_graph(model), module=module)
        return export_onnx(graph, name, metadata(model)), core
    hop = 1 if model.spec.stft else model.processing.padding.size
    options = StreamingOptions(core.streaming.chunk // hop, core.streaming.lookahead)
    streaming = streaming_core(model, options, for_int8=True)
    entry = msgspec.structs.replace(core, streaming=streaming_info(streaming))
    return export_streaming(model, streaming, name, metadata(model)), entry
