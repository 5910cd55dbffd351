"""A lint of an engine's layers: what runs outside its precision, conversions, narrow channels."""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Literal

from msgspec import Struct

from frcrn_export.runtime.bundle.layer_report import (
    NOT_DATA,
    EngineLayer,
    LayerReport,
    OnnxNode,
    run_types,
)
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.text import counted

Kind = Literal["precision", "conversion", "channels"]
# The precisions of files in the builder's words.
WORDS: dict[Precision, str] = {"fp32": "Float", "fp16": "Half", "int8": "Int8", "fp8": "FP8"}
# What the channels of a tensor core's operands must be multiples of: input, output.
_MULTIPLES = {"Half": (8, 8), "BFloat16": (8, 8), "Int8": (32, 16), "FP8": (32, 16)}
# ONNX nodes that only convert.
_CONVERTING = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear"})
# The share of the multiplications by node, None where unknown.
_Shares = dict[str, float | None]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing to look at.

    `precision`: a convolution, matrix product or recurrent layer that does not run in the engine's
    precision. `conversion`: a layer that only changes type or layout. `channels`: one whose
    channels are no multiples of what tensor cores take. `name` is of the ONNX node, or of the layer
    for conversions; `share` the share of the engine's multiplications, None where unknown.
    """

    kind: Kind
    name: str
    operator: str
    detail: str
    share: float | None = None


def lint(report: LayerReport, precision: Precision) -> tuple[Finding, ...]:
    """What to look at in an engine of this precision, by kind, the largest share first."""
    types = dict(run_types(report))
    weighted = {name: node for name, node in report.nodes.items() if node.is_weighted}
    works = [node.multiplications for node in weighted.values()]
    total = sum(work or 0 for work in works) if None not in works else 0
    shares = {
        name: (node.multiplications or 0) / total if total else None
        for name, node in weighted.items()
    }
    found = [
        *_outside(weighted, types, WORDS[precision], shares),
        *_conversions(report),
        *_narrow(weighted, types, shares),
    ]
    order = ("precision", "conversion", "channels")
    return tuple(sorted(found, key=lambda each: (order.index(each.kind), -(each.share or 0))))


def said_of(report: LayerReport, findings: Iterable[Finding], kind: Kind) -> str:
    """How many layers a lint found of one kind, and their share of the work, in words."""
    own = [finding.share for finding in findings if finding.kind == kind]
    layers = counted(len(own), "layer")
    if kind == "conversion":
        return f"{layers} of {len(report.layers)}"
    if not any(node.is_weighted for node in report.nodes.values()):
        return "unknown: the layer report does not tell the work"
    known = [share for share in own if share is not None]
    if not own or len(known) < len(own):
        return layers
    return f"{layers}, {100 * sum(known):.1f} % of the work"


def _outside(
    weighted: dict[str, OnnxNode], types: dict[str, str], wanted: str, shares: _Shares
) -> Iterator[Finding]:
    for name, node in weighted.items():
        if (dtype := types[name]) == wanted or wanted == "Float":
            continue
        quantizes = wanted in ("Int8", "FP8")
        if quantizes and node.quantized:
            why = f"the file quantizes it, the builder runs it in {dtype}"
        elif quantizes or node.dtype == dtype:
            why = f"{dtype} in the file"
        else:
            why = f"{node.dtype or 'of unknown type'} in the file, the builder runs it in {dtype}"
        yield Finding(
            kind="precision", name=name, operator=node.op_type, detail=why, share=shares[name]
        )


def _conversions(report: LayerReport) -> Iterator[Finding]:
    """Layers of converting nodes alone, and of none: what the builder put between others."""
    ends = {tensor.name: tensor.mode for tensor in report.io}
    for layer in report.layers:
        nodes = [report.nodes[name].op_type for name in layer.onnx if name in report.nodes]
        if len(nodes) < len(layer.onnx) or not _CONVERTING.issuperset(nodes):
            continue
        changed = _changed(layer)
        if changed is None:
            continue
        names = {tensor.name for tensor in (*layer.inputs, *layer.outputs)}
        where = [f"at the engine's {ends[name]}" for name in sorted(names & ends.keys())]
        values = max(prod(max(1, size) for size in tensor.dims) for tensor in layer.outputs)
        size = f"{values:,} values a step of the dynamic axes"
        yield Finding(
            kind="conversion",
            name=layer.name,
            operator=layer.type,
            detail=", ".join([changed, size, *where]),
        )


def _changed(layer: EngineLayer) -> str | None:
    """How types, else layouts, differ between what a layer reads and writes; None if not at all."""
    for of in ("dtype", "format"):
        read, written = (
            sorted({str(getattr(tensor, of)) for tensor in tensors if tensor.dtype not in NOT_DATA})
            for tensors in (layer.inputs, layer.outputs)
        )
        if read and written and read != written:
            return f"{' and '.join(read)} to {' and '.join(written)}"
    return None


def _narrow(
    weighted: dict[str, OnnxNode], types: dict[str, str], shares: _Shares
) -> Iterator[Finding]:
    for name, node in weighted.items():
        multiples = _MULTIPLES.get(types[name])
        if multiples is None or node.channels is None:
            continue
        missed = [
            f"{channels} {side} channels, no multiple of {multiple}"
            for side, channels, multiple in zip(
                ("input", "output"), node.channels, multiples, strict=True
            )
            if channels % multiple
        ]
        if missed:
            yield Finding(
                kind="channels",
                name=name,
                operator=node.op_type,
                detail=f"{', '.join(missed)}, as tensor cores take in {types[name]}",
                share=shares[name],
            )
