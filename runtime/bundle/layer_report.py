"""The layers of a built engine, as its builder described them: typed, and as JSON."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from frcrn_export.runtime.bundle.manifest import Bytes, FileEntry, Positive, Profile, Sm
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import build_again
from frcrn_export.runtime.errors import reading

_MOST_BYTES = 64 << 20  # those of 250 layers are 2 MB

Size = Annotated[int, Meta(ge=-1, le=2**31 - 1)]  # of one axis; -1 is dynamic
# Short and printable, since these two reach the user's terminal.
OpType = Annotated[str, Meta(pattern="^[A-Za-z0-9_.]{1,64}$")]
DataType = Annotated[str, Meta(pattern="^[A-Za-z0-9_]{0,32}$")]

# Layers that only prepare another layer of the same node: they pad channels, change the layout or
# the type. (Pointwise nodes run in a "kgen", a generated kernel, too.)
_SERVING = frozenset({"kgen", "Reformat", "NoOp", "shape_call"})
# A layer that reads one of these computes in it, although its output has a wider type.
_NARROW_TYPES = ("Int8", "FP8")
# Tensors of these types carry shapes and indices, not samples.
NOT_DATA = frozenset({"Int32", "Int64", "Bool", ""})
# ONNX nodes that no layer names: folded into weights, done by addressing, or fused silently.
UNLISTED = "unlisted"


class LayerTensor(Struct, frozen=True, kw_only=True):
    """One input or output of a layer. `dtype` and `format` are the builder's words."""

    name: str
    dtype: DataType
    dims: tuple[Size, ...]
    format: str


class EngineLayer(Struct, frozen=True, kw_only=True):
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


class OnnxNode(Struct, frozen=True, kw_only=True):
    """One node of the ONNX file. `dtype` is its output's type, in the builder's words.

    `quantized`: a convolution or matrix product whose input and weight are dequantized before it.
    Convolutions, matrix products and recurrent layers (`is_weighted`) have `multiplications` at the
    profile's optimum, None where they do not follow from it; those with channels have the
    `channels` of one group, input and output.
    """

    op_type: OpType
    dtype: DataType
    quantized: bool = False
    is_weighted: bool = False
    multiplications: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    channels: tuple[Positive, Positive] | None = None


class LayerReport(Struct, frozen=True, kw_only=True):
    """The layers of an engine. `nodes` are the ONNX file's, by name.

    `sms` are the compute capabilities that it was built for (89 is 8.9). `activation_bytes` is the
    device memory of one execution context at the profile's maximum, `weights_bytes` that of the
    weights; None where the builder did not say. `estimated_activation_bytes` is the former from the
    graph's shapes; None where they do not follow from the profile. `weights` are those that can be
    refitted: the engine's name of each, and the initializer of the ONNX file that it comes from.
    """

    layers: tuple[EngineLayer, ...]
    io: tuple[IoTensor, ...]
    nodes: dict[str, OnnxNode]
    sms: Annotated[tuple[Sm, ...], Meta(max_length=32)] = ()
    activation_bytes: Bytes | None = None
    weights_bytes: Bytes | None = None
    estimated_activation_bytes: Bytes | None = None
    weights: dict[str, str] = {}

    def to_json(self) -> bytes:
        """The report as JSON, one line."""
        return msgspec.json.encode(self) + b"\n"


def layer_report(bundle: Bundle, entry: FileEntry) -> LayerReport:
    """The report of an engine of a bundle. Raises as `read_layer_report`."""
    assert entry.engine is not None
    remedy = f"run: {build_again(bundle.path, entry)}"
    return read_layer_report_file(bundle.path / entry.engine.layers, remedy)


def read_layer_report_file(path: Path, remedy: str) -> LayerReport:
    """The report in a file. Raises as `read_layer_report`."""
    with reading(path, "not a layer report", remedy):
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"{size / 1e6:.0f} MB, at most {_MOST_BYTES / 1e6:.0f}")
        data = path.read_bytes()
    return read_layer_report(data, str(path), remedy)


def read_layer_report(
    data: bytes, source: str, remedy: str = "build the engine again"
) -> LayerReport:
    """The report in the bytes of a bundle's file. `source` names it in errors.

    Raises BundleError for anything that is not one, which says `remedy`.
    """
    with reading(source, "not a layer report", remedy):
        return msgspec.json.decode(data, type=LayerReport)


def memory(report: LayerReport) -> dict[str, int | None]:
    """The bytes that an engine takes, as `inspect --json` shows them; see `LayerReport`."""
    return {
        "activation_bytes": report.activation_bytes,
        "estimated_activation_bytes": report.estimated_activation_bytes,
        "weights_bytes": report.weights_bytes,
    }


def census(report: LayerReport) -> dict[str, dict[str, int]]:
    """The number of nodes by ONNX operator and by the data type that they run in.

    {"Conv": {"Half": 770}, ...}, with the builder's words for the types of the layer's inputs and
    outputs. A quantized node counts as Int8 if its layer reads Int8. In a layer that fuses nodes of
    several types, a node counts as its type in the ONNX file if the layer has that type (a strongly
    typed network keeps it), else as all of them joined by "+". UNLISTED counts the nodes that no
    layer names.
    """
    counts: dict[str, Counter[str]] = {}
    for name, dtype in run_types(report):
        counts.setdefault(report.nodes[name].op_type, Counter())[dtype] += 1
    return {op_type: dict(counts[op_type]) for op_type in sorted(counts)}


def quantized_nodes(report: LayerReport) -> dict[str, str]:
    """The data type that each quantized node of the ONNX file runs in, by name; see `census`."""
    return {name: dtype for name, dtype in run_types(report) if report.nodes[name].quantized}


def run_types(report: LayerReport) -> Iterator[tuple[str, str]]:
    """The nodes, each with the data type that it runs in."""
    layers_of: dict[str, list[EngineLayer]] = {}
    for layer in report.layers:
        for name in layer.onnx:
            layers_of.setdefault(name, []).append(layer)
    for name, node in report.nodes.items():
        layers = layers_of.get(name, [])
        layers = [layer for layer in layers if layer.type not in _SERVING] or layers
        read = {t.dtype for layer in layers for t in layer.inputs}
        types = read | {t.dtype for layer in layers for t in layer.outputs}
        types = types - NOT_DATA or types
        narrow = [dtype for dtype in _NARROW_TYPES if dtype in read]
        if narrow and (node.quantized or node.op_type == "DequantizeLinear"):
            types = set(narrow)
        dtype = node.dtype if node.dtype in types else "+".join(sorted(types))
        yield name, dtype or UNLISTED
