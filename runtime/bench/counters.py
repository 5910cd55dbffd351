"""Exact counters of a bundle's files: free of noise, and what most regressions show in."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bench.result import FileCounters
from frcrn_export.runtime.bundle.audio_cost import calls_a_second, graph_costs
from frcrn_export.runtime.bundle.graph_cost import GraphCost
from frcrn_export.runtime.bundle.layer_report import census, layer_report
from frcrn_export.runtime.bundle.manifest import EXPORT_AGAIN, QUANTIZED, FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError, UserError, reading
from frcrn_export.runtime.sessions.onnx import check_file, session_options
from frcrn_export.runtime.sessions.run_limit import Opening

if TYPE_CHECKING:
    import onnx

# What a processor runs: the core in its forms, and the whole pipeline.
_RUN_ROLES = ("core", "core_long", "core_streaming", "pipeline")


def require_onnx() -> None:
    """Raise UserError where graphs cannot be read."""
    if find_spec("onnx") is None:
        raise UserError('counters need the onnx package; run: pip install "frcrn-export[bench]"')


def made_for_processors(entry: FileEntry) -> bool:
    """Whether an ONNX file is run by processors, and does not only serve to build engines."""
    if entry.format != "onnx" or entry.role not in _RUN_ROLES:
        return False
    for_cpu = entry.quantization is not None and entry.quantization.target == "cpu"
    return for_cpu if entry.precision in QUANTIZED else entry.precision == "fp32"


def count(bundle: Bundle) -> Iterator[FileCounters]:
    """The counters of every file of a bundle that a network runs from, in the manifest's order.

    Args:
        bundle: An opened bundle.

    Raises:
        UserError: The onnx package is missing.
        BundleError: A file that is no ONNX graph, or no layer report.
    """
    require_onnx()
    costs = {entry.path: cost for entry, cost in graph_costs(bundle)}
    for entry in bundle.manifest.files:
        if entry.format in ("onnx", "engine", "torchscript"):
            yield _counters(bundle, entry, costs.get(entry.path))


def _counters(bundle: Bundle, entry: FileEntry, cost: GraphCost | None) -> FileCounters:
    states = entry.streaming.states if entry.streaming else ()
    report = layer_report(bundle, entry) if entry.engine else None
    return FileCounters(
        path=entry.path,
        role=entry.role,
        format=entry.format,
        precision=entry.precision,
        bytes=entry.bytes,
        operators=cost.operators if cost else {},
        optimised=optimised_operators(bundle, entry) if made_for_processors(entry) else {},
        parameters=cost.parameters if cost else 0,
        flop=cost.flop if cost else None,
        layers=census(report) if report else {},
        calls=calls_a_second(bundle.manifest, entry),
        state_bytes=sum(state.row_bytes for state in states),
        activation_bytes=report.activation_bytes if report else None,
        weights_bytes=report.weights_bytes if report else None,
    )


def optimised_operators(bundle: Bundle, entry: FileEntry) -> dict[str, int]:
    """The nodes of an ONNX file by operator, as ONNX Runtime runs it on this processor.

    Names of other domains than ONNX's own have the domain before them, such as
    "com.microsoft.FusedConv". Empty without ONNX Runtime. Raises BackendError.
    """
    if find_spec("onnxruntime") is None:
        return {}
    names = (_name(node) for node in optimised_graph(bundle, entry).node)
    return dict(sorted(Counter(names).items()))


def optimised_graph(bundle: Bundle, entry: FileEntry) -> "onnx.GraphProto":
    """The graph of an ONNX file as ONNX Runtime runs it on this processor, without its weights.

    Raises BackendError for a file that does not load.
    """
    import onnx
    import onnxruntime

    path = check_file(bundle, entry)
    problem = "ONNX Runtime cannot optimise it"
    with (
        tempfile.TemporaryDirectory() as folder,
        reading(path, problem, EXPORT_AGAIN, BackendError),
    ):
        optimised = Path(folder) / "optimised.onnx"
        options = session_options(1)
        options.optimized_model_filepath = str(optimised)
        # The weights go into a file of their own, which nobody reads.
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", "weights"
        )
        with Opening(options):
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(optimised, load_external_data=False).graph


def _name(node: "onnx.NodeProto") -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
