"""Two engines side by side, from their manifests and layer reports: what differs comes first."""

from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from frcrn_export.runtime.bundle.layer_lint import Kind, lint, said_of
from frcrn_export.runtime.bundle.layer_report import (
    LayerReport,
    census,
    layer_report,
    read_layer_report_file,
    run_types,
)
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME, FileEntry
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import sms_text
from frcrn_export.runtime.text import shown

_KINDS: dict[Kind, str] = {
    "precision": "outside the precision",
    "conversion": "only convert",
    "channels": "narrow channels",
}


@dataclass(frozen=True)
class ComparedEngine:
    """One side: its layer report, and its entry where it is in a bundle."""

    path: Path
    report: LayerReport
    entry: FileEntry | None


class Row(Struct, frozen=True, kw_only=True):
    """One fact of both engines, as text."""

    what: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """Whether the engines differ in it."""
        return self.a != self.b


class NodeRow(Struct, frozen=True, kw_only=True):
    """A node of the ONNX files that runs in two types; "" where a file does not have it."""

    node: str
    operator: str
    a: str
    b: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What differs, what does not, and the nodes that run in different types."""

    different: tuple[Row, ...]
    same: tuple[Row, ...]
    nodes: tuple[NodeRow, ...]


def find_pairs(a: Path, b: Path) -> list[tuple[ComparedEngine, ComparedEngine]]:
    """The engines of two paths: bundles, engines in bundles, or layer reports.

    Two bundles with several engines are compared name by name. Raises UserError where it is not
    clear which engines are meant, BundleError for files that are not valid.
    """
    left, right = _engines(a), _engines(b)
    if len(left) == len(right) == 1:
        return [(left[0], right[0])]
    names = {engine.path.name: engine for engine in right}
    pairs = [(engine, names[engine.path.name]) for engine in left if engine.path.name in names]
    if not pairs:
        some = ", ".join(engine.path.name for engine in (*left, *right))
        raise UserError(
            f"{a} and {b} have no engine of the same name; give one of each, as in "
            f"{left[0].path}: there are {some}"
        )
    return pairs


def compare_engines(a: ComparedEngine, b: ComparedEngine) -> Comparison:
    """Compare what is known of both engines without running them."""
    left, right = _facts(a), _facts(b)
    names = dict.fromkeys((*left, *right))
    rows = [Row(what=name, a=left.get(name, "-"), b=right.get(name, "-")) for name in names]
    return Comparison(
        different=tuple(row for row in rows if row.differs),
        same=tuple(row for row in rows if not row.differs),
        nodes=tuple(_nodes(a.report, b.report)),
    )


def _engines(path: Path) -> list[ComparedEngine]:
    if path.is_file() and path.name.endswith(".json") and path.name != MANIFEST_NAME:
        return [_of_report(path)]
    root = path if path.is_dir() else path.parent
    bundle = open_bundle(root, engines=True)
    found = [
        ComparedEngine(root / entry.path, layer_report(bundle, entry), entry)
        for entry in bundle.manifest.files
        if entry.engine is not None and (root == path or entry.path == path.name)
    ]
    if not found:
        raise UserError(
            f"{path}: no engine there to compare; build one: frcrn-export trt {shown(str(root))}"
        )
    return found


def _of_report(path: Path) -> ComparedEngine:
    """A layer report, with the engine's entry where the bundle lies beside it."""
    if (path.parent / MANIFEST_NAME).is_file():
        bundle = open_bundle(path.parent)
        for entry in bundle.manifest.files:
            if entry.engine is not None and entry.engine.layers == path.name:
                return ComparedEngine(path, layer_report(bundle, entry), entry)
    return ComparedEngine(path, read_layer_report_file(path, "give an engine's layer report"), None)


def _facts(engine: ComparedEngine) -> dict[str, str]:
    """What is known of an engine, as text by title."""
    report, entry = engine.report, engine.entry
    facts: dict[str, str] = {}
    if entry is not None and entry.engine is not None:
        info = entry.engine
        facts = {
            "precision": entry.precision,
            "built by": f"{info.backend} {info.version}, CUDA {info.cuda}",
            "for": info.gpu,
            "from": info.source,
            "its sha256": info.source_sha256[:16],
            "size": f"{entry.bytes / 1e6:,.2f} MB",
            "hardware-compatible": str(info.hardware_compatible),
            "refittable": str(info.refittable),
            "TF32": str(info.tf32),
            "verified on": info.verified_on or "no GPU",
        }
    facts["SMs"] = sms_text(report.sms or (entry.engine.sms if entry and entry.engine else ()))
    for tensor in report.io:
        if tensor.profile is not None:
            shapes = (tensor.profile.min, tensor.profile.opt, tensor.profile.max)
            facts[f"profile of {tensor.name}"] = " ".join(str(list(shape)) for shape in shapes)
    facts |= {
        "activation memory": _megabytes(report.activation_bytes),
        "activation memory, estimated": _megabytes(report.estimated_activation_bytes),
        "weights in memory": _megabytes(report.weights_bytes),
        "layers": str(len(report.layers)),
    }
    if entry is not None:
        findings = lint(report, entry.precision)
        for kind, title in _KINDS.items():
            facts[title] = said_of(report, findings, kind)
    kinds: dict[str, int] = {}
    for layer in report.layers:
        kinds[layer.type] = kinds.get(layer.type, 0) + 1
    facts |= {f"layers: {kind}": str(count) for kind, count in sorted(kinds.items())}
    for operator, counts in census(report).items():
        listed = ", ".join(f"{count} {dtype}" for dtype, count in sorted(counts.items()))
        facts[f"nodes: {operator}"] = listed
    return facts


def _nodes(a: LayerReport, b: LayerReport) -> list[NodeRow]:
    left, right = dict(run_types(a)), dict(run_types(b))
    work = {name: node.multiplications or 0 for name, node in (*b.nodes.items(), *a.nodes.items())}
    rows = [
        NodeRow(
            node=name,
            operator=(a.nodes.get(name) or b.nodes[name]).op_type,
            a=left.get(name, ""),
            b=right.get(name, ""),
        )
        for name in dict.fromkeys((*left, *right))
        if left.get(name) != right.get(name)
    ]
    return sorted(rows, key=lambda row: -work[row.node])


def _megabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e6:,.1f} MB"
