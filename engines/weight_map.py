"""Which initializers of the ONNX file a refittable engine takes anew, and whether that suffices."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from frcrn_export.engines.options import BuildOptions
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt
from frcrn_export.runtime.text import shown

if TYPE_CHECKING:
    import onnx
    import tensorrt as trt

_SHOWN = 3


def weight_map(
    plan: bytes, model: bytes, logger: "trt.ILogger", options: BuildOptions
) -> dict[str, str]:
    """The engine's refittable weights, each with the ONNX initializer that it comes from.

    Read from the engine right after the build, which takes a GPU. The parser names a weight as its
    initializer, or with that name first where it transformed it. Raises BackendError.
    """
    import onnx

    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(options.backend)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{options.backend} cannot open the engine that it has just built")
    names = [tensor.name for tensor in onnx.load_model_from_string(model).graph.initializer]
    return names_of(trt.Refitter(engine, logger).get_all_weights(), names)


def names_of(weights: Iterable[str], initializers: Iterable[str]) -> dict[str, str]:
    """The initializer of each weight: of the same name, else the longest that begins its name."""
    longest_first = sorted(initializers, key=len, reverse=True)
    found = {
        weight: next((name for name in longest_first if name and weight.startswith(name)), None)
        for weight in weights
    }
    return {weight: name for weight, name in found.items() if name is not None}


def require_refittable(
    old: "onnx.ModelProto",
    new: "onnx.ModelProto",
    weights: Mapping[str, str],
    engine: str,
    remedy: str,
) -> None:
    """Raise UserError where an engine of `old` cannot become one of `new` by new weights alone.

    The graphs have to be equal but for the values of initializers, and every initializer with other
    values has to be among those that the engine takes. `remedy` ends the error.
    """
    if (what := _difference(old, new)) is not None:
        raise UserError(
            f"{engine}: the network of the checkpoint has another graph than the engine: {what}; "
            f"{remedy}"
        )
    before = {tensor.name: tensor for tensor in old.graph.initializer}
    taken = set(weights.values())
    kept = [
        tensor.name
        for tensor in new.graph.initializer
        if tensor.name not in taken and not _equal(before[tensor.name], tensor)
    ]
    if kept:
        names = ", ".join(shown(name) for name in kept[:_SHOWN])
        raise UserError(
            f"{engine}: {len(kept)} weights differ that the engine keeps ({names}); {remedy}"
        )


def _difference(old: "onnx.ModelProto", new: "onnx.ModelProto") -> str | None:
    """The first thing in which two graphs differ beside values of initializers, or None."""
    for side in ("input", "output"):
        if list(getattr(old.graph, side)) != list(getattr(new.graph, side)):
            return f"its {side}s"
    if len(old.graph.node) != len(new.graph.node):
        return f"{len(new.graph.node)} nodes, not {len(old.graph.node)}"
    for one, other in zip(old.graph.node, new.graph.node, strict=True):
        if one.op_type != other.op_type or list(one.input) != list(other.input):
            return f"node {shown(other.name)} ({other.op_type}), where it has {one.op_type}"
        attributes = sorted(a.SerializeToString() for a in one.attribute)
        if attributes != sorted(a.SerializeToString() for a in other.attribute):
            return f"the attributes of node {shown(other.name)} ({other.op_type})"
        if list(one.output) != list(other.output):
            return f"the outputs of node {shown(other.name)} ({other.op_type})"
    shapes, others = (
        {t.name: (t.data_type, tuple(t.dims)) for t in model.graph.initializer}
        for model in (old, new)
    )
    for name in sorted(shapes.keys() | others.keys()):
        if shapes.get(name) != others.get(name):
            return f"the shape or type of {shown(name)}"
    return None


def _equal(one: "onnx.TensorProto", other: "onnx.TensorProto") -> bool:
    from onnx import numpy_helper

    return numpy_helper.to_array(one).tobytes() == numpy_helper.to_array(other).tobytes()
