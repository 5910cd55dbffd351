"""The layers of a built engine, as its builder described them: typed, and as JSON."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from frcrn_export.runtime.errors import BundleError
from frcrn_export.runtime.manifest import NonNegative, Profile

# What decoding raises: not JSON or not this type, nested too deeply, not UTF-8.
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

Size = Annotated[int, Meta(ge=-1)]  # of one axis; -1 is dynamic
# Short and printable, since these two reach the user's terminal.
OpType = Annotated[str, Meta(pattern="^[A-Za-z0-9_.]{1,64}$")]
DataType = Annotated[str, Meta(pattern="^[A-Za-z0-9_]{0,32}$")]

# Layers that only move data for another one (padding channels, changing the layout).
_MOVING = frozenset({"kgen", "Reformat", "NoOp", "shape_call"})
# Tensors of these types carry shapes and indices, not samples.
_NOT_DATA = frozenset({"Int32", "Int64", "Bool", ""})
# ONNX nodes that no layer names: folded into weights, done by addressing alone, or fused silently.
UNLISTED = "unlisted"


class LayerTensor(Struct, frozen=True, kw_only=True):
    """One input or output of a layer. `dtype` and `format` are the builder's words."""

    name: str
    dtype: DataType
    dims: tuple[Size, ...]
    format: str


class Layer(Struct, frozen=True, kw_only=True):
    """One layer. `onnx` names the nodes of the ONNX file that were fused into it."""

    name: str
    type: str
    tactic: str
    inputs: tuple[LayerTensor, ...]
    outputs: tuple[LayerTensor, ...]
    onnx: tuple[str, ...]


class IoTensor(Struct, frozen=True, kw_only=True):
    """One input or output of the engine. `profile` is there for inputs."""

    name: str
    mode: Literal["input", "output"]
    dtype: DataType
    dims: tuple[Size, ...]
    format: str
    profile: Profile | None = None


class LayerReport(Struct, frozen=True, kw_only=True):
    """What an engine is made of. `op_types` maps the ONNX file's node names to their operators.

    `activation_bytes` is the device memory of one execution context at the profile's maximum,
    `weights_bytes` that of the weights; None where the builder did not say.
    """

    layers: tuple[Layer, ...]
    io: tuple[IoTensor, ...]
    op_types: dict[str, OpType]
    activation_bytes: NonNegative | None = None
    weights_bytes: NonNegative | None = None

    def to_json(self) -> bytes:
        """The report as JSON, one line."""
        return msgspec.json.encode(self) + b"\n"


def read_layer_report(data: bytes, source: str) -> LayerReport:
    """The report in the bytes of a bundle's file. `source` names it in errors.

    Raises BundleError for anything that is not one.
    """
    try:
        return msgspec.json.decode(data, type=LayerReport)
    except _DECODE_ERRORS as error:
        raise BundleError(
            f"{source}: not a layer report ({error}); build the engine again: frcrn-export trt"
        ) from error


def census(report: LayerReport) -> dict[str, dict[str, int]]:
    """How many nodes of each ONNX operator run in which data type.

    {"Conv": {"Half": 770}, ...}: the builder's words for the types, joined by "+" where a node's
    layer mixes them, UNLISTED for nodes that no layer names.
    """
    layers_of: dict[str, list[Layer]] = {}
    for layer in report.layers:
        for node in layer.onnx:
            layers_of.setdefault(node, []).append(layer)
    border = {tensor.name for tensor in report.io}
    counts: dict[str, Counter[str]] = {}
    for node, op_type in report.op_types.items():
        layers = layers_of.get(node, [])
        layers = [layer for layer in layers if layer.type not in _MOVING] or layers
        types = {dtype for layer in layers for dtype in _data_types(layer, border, report.op_types)}
        counts.setdefault(op_type, Counter())["+".join(sorted(types)) or UNLISTED] += 1
    return {op_type: dict(counts[op_type]) for op_type in sorted(counts)}


def _data_types(layer: Layer, border: set[str], op_types: dict[str, str]) -> Iterable[str]:
    """The types that a layer computes on.

    Where a Cast to or from the engine's float32 input or output is fused into the layer, that
    tensor says nothing about the rest of it.
    """
    tensors = (*layer.inputs, *layer.outputs)
    if any(op_types.get(node) == "Cast" for node in layer.onnx):
        tensors = tuple(t for t in tensors if t.name not in border) or tensors
    types = {tensor.dtype for tensor in tensors}
    return types - _NOT_DATA or types
