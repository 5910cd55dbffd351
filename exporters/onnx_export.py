"""Writing ONNX files: one function, used for the core, the pre and post ops and the inline file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from frcrn_export.exporters.models import SAMPLE_RATE
from frcrn_export.exporters.onnx_cleanup import clean_up
from frcrn_export.runtime.manifest import TensorSpec

OPSET = 18


@dataclass(frozen=True)
class Graph:
    """What to export: a module of one input and one output, and which axes are dynamic.

    Every dynamic axis of `example` has a size above 1, or the exporter would take it for constant.
    """

    module: nn.Module
    example: Tensor
    input: TensorSpec
    output: TensorSpec


def export_onnx(graph: Graph, name: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Export and check one graph, with its weights inside.

    `metadata` becomes the model's metadata properties. Raises onnx.checker.ValidationError or
    onnx.shape_inference.InferenceError if the exporter produced a wrong graph.
    """
    dynamic = {
        axis: torch.export.Dim.DYNAMIC
        for axis, size in enumerate(graph.input.shape)
        if isinstance(size, str)
    }
    with torch.inference_mode():
        traced = torch.export.export(
            graph.module.eval(), (graph.example,), dynamic_shapes=(dynamic,), strict=False
        )
        program = torch.onnx.export(
            traced,
            (graph.example,),
            dynamo=True,
            input_names=[graph.input.name],
            output_names=[graph.output.name],
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    clean_up(program.model)
    model: onnx.ModelProto = program.model_proto
    _describe(model, graph, name, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def _describe(model: Any, graph: Graph, name: str, metadata: Mapping[str, str]) -> None:
    """Fill in names for people and tools: graph, axes, producer, metadata properties."""
    from importlib.metadata import version

    model.producer_name = "frcrn-export"
    model.producer_version = version("frcrn-export")
    model.domain = "speech-enhancement"
    model.doc_string = f"{name}: {graph.input.name} -> {graph.output.name}"
    model.graph.name = name
    onnx.helper.set_model_props(model, {"sample_rate": str(SAMPLE_RATE), **metadata})
    for value, spec in ((model.graph.input[0], graph.input), (model.graph.output[0], graph.output)):
        for dim, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            if isinstance(size, str):
                dim.dim_param = size
