"""Writing ONNX files: the one export function of all ONNX files in a bundle."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import fuse_pad_into_conv_rule
from torch import Tensor, nn

from frcrn_export.exporters.onnx_versions import OPSET
from frcrn_export.exporters.quiet import quiet_torch
from frcrn_export.exporters.recurrent import recurrent_to_onnx
from frcrn_export.exporters.shared_trace import given_to, insert, set_aside
from frcrn_export.runtime.bundle.manifest import TensorSpec
from frcrn_export.runtime.errors import UserError


def clean_up(model: onnx_ir.Model) -> None:
    """Fold constants, share equal initializers, drop unused nodes; in place.

    Also drops stack traces: they hold paths of this machine, and are four times as large as the
    weights of a long core.
    """
    fold_constants(model)
    remove_unused_nodes(model)
    common.CommonSubexpressionEliminationPass()(model)
    RewriteRuleSet([fuse_pad_into_conv_rule]).apply_to_model(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    common.RemoveUnusedNodesPass()(model)
    for node in model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


# The largest size of an axis, in frames or samples; PyTorch reports more for unbounded axes.
_LARGEST_SIZE = 2**30


class BakedInSize(UserError):
    """The traced graph takes only one or some sizes of a dynamic axis."""


@dataclass(frozen=True)
class Graph:
    """A module of one input and one output to export, and its dynamic axes.

    Every dynamic axis of `example` has a size above 1: the exporter would take 1 as constant.
    """

    module: nn.Module
    example: Tensor
    input: TensorSpec
    output: TensorSpec


def onnx_from_graph(graph: Graph, name: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Export and check one graph of one input and one output; else as `onnx_from_module`."""
    return onnx_from_module(
        graph.module, (graph.example,), (graph.input,), (graph.output,), name, metadata
    )


def onnx_from_module(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    name: str,
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """Export and check a module with its weights inside; `examples` are its inputs in order.

    `metadata` becomes the model's metadata properties. Raises onnx.checker.ValidationError or
    onnx.shape_inference.InferenceError if the exporter produced a wrong graph.
    """
    axes = [_dynamic_axes(spec) for spec in inputs]
    with quiet_torch(), torch.inference_mode():
        module = recurrent_to_onnx(module.eval())
        with set_aside(module) as groups:
            traced = _trace(module, examples, axes)
            program = _translated(traced, inputs, outputs)
        for parts in groups:
            part = _translated(_trace(parts[0].alone(), *given_to(parts[0], traced)))
            insert(program.model, part.model, parts)
    clean_up(program.model)
    model: onnx.ModelProto = program.model_proto
    _describe(model, inputs, outputs, name, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def _dynamic_axes(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(axis for axis, size in enumerate(spec.shape) if isinstance(size, str))


def _trace(
    module: nn.Module, examples: tuple[Tensor, ...], axes: Sequence[Sequence[int]]
) -> torch.export.ExportedProgram:
    """Trace a module; each example has its dynamic axes."""
    dynamic: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for example, dynamic_axes in zip(examples, axes, strict=True):
        dynamic[example] = dict.fromkeys(dynamic_axes, torch.export.Dim.DYNAMIC)
    with redirect_stderr(StringIO()):  # PyTorch prints the graph there when a trace fails
        traced = torch.export.export(module, examples, dynamic_shapes=dynamic, strict=False)
    _require_any_size(traced)
    return traced


def _translated(
    traced: torch.export.ExportedProgram,
    inputs: Sequence[TensorSpec] = (),
    outputs: Sequence[TensorSpec] = (),
) -> torch.onnx.ONNXProgram:
    """A trace as an ONNX graph, with the names of its inputs and outputs where given."""
    program = torch.onnx.export(
        traced,
        dynamo=True,
        input_names=[spec.name for spec in inputs],
        output_names=[spec.name for spec in outputs],
        opset_version=OPSET,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    return program


def _require_any_size(traced: torch.export.ExportedProgram) -> None:
    """Raise BakedInSize where an `if` on a size took a branch that long inputs do not take."""
    for limits in traced.range_constraints.values():
        if limits.upper < _LARGEST_SIZE:
            raise BakedInSize(
                f"a trace holds for sizes up to {limits.upper} alone: the module decides by a size"
            )


def _describe(
    model: Any,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    name: str,
    metadata: Mapping[str, str],
) -> None:
    """Set names: graph, axes, producer, metadata properties."""
    from importlib.metadata import version

    model.producer_name = "frcrn-export"
    model.producer_version = version("frcrn-export")
    model.domain = "speech-enhancement"
    model.doc_string = f"{name}: {inputs[0].name} -> {outputs[0].name}"
    model.graph.name = name
    onnx.helper.set_model_props(model, dict(metadata))
    values = zip((*model.graph.input, *model.graph.output), (*inputs, *outputs), strict=True)
    for value, spec in values:
        for dim, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            if isinstance(size, str):
                dim.dim_param = size
