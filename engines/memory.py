"""An estimate of an engine's activation memory, before the build."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.engines.gpus import GPUS, TargetGpu
from frcrn_export.engines.options import BuildOptions
from frcrn_export.runtime.bundle.graph_shapes import Shape, tensor_bytes
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

_GIB = 1 << 30
_TIGHT = 0.5  # of the memory: the engine takes up to twice the estimate, other programs take some


def check_memory(source: Path, content: bytes, options: BuildOptions) -> None:
    """Refuse a profile whose largest shape no GPU of the target SM holds, and warn of a tight one.

    Raises UserError.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    shapes = {model.graph.input[0].name: options.profile.max, **options.state_shapes}
    needed, has = activation_bytes(model, shapes) / _GIB, _memory_gb(options.gpu)
    said = (
        f"{source}: the largest shape of the profile, {list(options.profile.max)}, takes "
        f"about {needed:,.1f} GiB of activations, {options.gpu.title} has {has} GiB"
    )
    if needed > has:
        raise UserError(f"{said}; lower the MAX of --batch, --frames or --samples")
    if needed > _TIGHT * has:
        logger.warning("%s; it may not run there", said)


def activation_bytes(model: "onnx.ModelProto", shapes: Mapping[str, Shape]) -> int:
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
    most = alive
    for i, node in enumerate(graph.node):
        alive += sum(bytes_of.get(name, 0) for name in node.output if name not in whole)
        most = max(most, alive)
        done = {name for name in (*node.input, *node.output) if last.get(name, i) == i}
        alive -= sum(bytes_of.get(name, 0) for name in done - whole)
    return most


def _memory_gb(gpu: TargetGpu) -> int:
    """Memory of the GPU, or of the largest GPU of its SM where the entry stands for all of them."""
    if gpu.memory_gb is not None:
        return gpu.memory_gb
    known = [each.memory_gb for each in GPUS.values() if each.memory_gb is not None]
    same = [each.memory_gb for each in GPUS.values() if each.memory_gb and each.sm == gpu.sm]
    return max(same or known)
