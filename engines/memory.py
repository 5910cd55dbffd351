"""The GPU memory that an engine takes: an estimate before the build, the builder's number after."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.engines.options import BuildOptions
from frcrn_export.runtime.bundle.graph_shapes import Shape, tensor_bytes
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

_GIB = 1 << 30
_TIGHT = 0.5  # of the memory: the engine takes up to twice the estimate, other programs take some


@dataclass(frozen=True)
class Estimate:
    """Bytes of activations; not `complete` where some shapes are unknown: then at least these."""

    bytes: int
    complete: bool


def check_estimate(source: Path, content: bytes, options: BuildOptions) -> Estimate:
    """Refuse a profile whose largest shape a target does not hold, and warn of a tight one.

    Raises UserError.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    shapes = {model.graph.input[0].name: options.profile.max, **options.state_shapes}
    estimate = activation_bytes(model, shapes)
    gpu, has = options.targets.tightest
    needed = estimate.bytes / _GIB
    said = (
        f"{source}: the largest shape of the profile, {list(options.profile.max)}, takes "
        f"{'about' if estimate.complete else 'at least'} {needed:,.1f} GiB of activations, "
        f"{gpu.title} has {has} GiB"
    )
    if needed > has:
        raise UserError(f"{said}; {_lower(options)}")
    if needed > _TIGHT * has:
        logger.warning("%s; it may not run there", said)
    return estimate


def check_taken(
    source: Path, activations: int | None, weights: int | None, options: BuildOptions
) -> None:
    """Refuse an engine that takes more than a target has, by the builder's own numbers.

    Raises UserError.
    """
    gpu, has = options.targets.tightest
    taken = ((activations or 0) + (weights or 0)) / _GIB
    if taken > has:
        raise UserError(
            f"{source}: built, and not kept: by the builder it takes {taken:,.1f} GiB for the "
            f"largest shape of the profile, {list(options.profile.max)}, {gpu.title} has {has} GiB;"
            f" {_lower(options)}"
        )


def activation_bytes(model: "onnx.ModelProto", shapes: Mapping[str, Shape]) -> Estimate:
    """The peak memory of live tensors with inputs of these shapes.

    A tensor lives from its producer to its last consumer; inputs and outputs live throughout.
    Builders fuse nodes, but pad tensors and keep more of them: TensorRT-RTX 1.7 took 1.2 to 2.3
    times as much for four engines. Tensors of unknown shape count as 0.
    """
    graph = model.graph
    sizes = {
        dim.dim_param: size
        for value in graph.input
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True)
        if dim.dim_param
    }
    weights = {tensor.name for tensor in graph.initializer}
    bytes_of = {n: size for n, size in tensor_bytes(model, sizes).items() if n not in weights}
    whole = {value.name for value in (*graph.input, *graph.output)}
    last = {name: i for i, node in enumerate(graph.node) for name in node.input}
    alive = sum(bytes_of.get(name, 0) for name in whole)
    most, complete = alive, True
    for i, node in enumerate(graph.node):
        complete = complete and all(name in bytes_of for name in node.output if name)
        alive += sum(bytes_of.get(name, 0) for name in node.output if name not in whole)
        most = max(most, alive)
        done = {name for name in (*node.input, *node.output) if last.get(name, i) == i}
        alive -= sum(bytes_of.get(name, 0) for name in done - whole)
    return Estimate(most, complete)


def _lower(options: BuildOptions) -> str:
    """Which options ask for less, from those that the profile leaves a choice."""
    if options.states:
        return "give fewer streams with --batch"
    return "lower the MAX of --batch, --frames or --samples"
