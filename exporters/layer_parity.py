"""A file of a bundle against the float32 network, layer by layer; see `runtime.verify.layers`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from frcrn_export.exporters.float16.graph import float16_graph
from frcrn_export.exporters.float16.rounding import in_float32, rounded
from frcrn_export.exporters.graph_file import read_graph
from frcrn_export.exporters.layer_matches import LayerMatches, layers_read, match_layers
from frcrn_export.exporters.layer_runs import Runs, run_calls, session_call, with_outputs
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import QUANTIZED, FileEntry, Precision, Role
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import calibrate_command, export_again, with_fp16
from frcrn_export.runtime.errors import BundleError, UserError
from frcrn_export.runtime.verify.layers import Difference, LayerReport, LayerSnr, drops
from frcrn_export.runtime.verify.parity import Case, compare, is_loud, read_cases

Progress = Callable[[str], None]

_STAGES: dict[Role, str] = {"core": "core", "core_streaming": "streaming"}
_ROUNDED = (
    "float16 values are rounded explicitly, as TensorRT stores them; ONNX Runtime on a processor "
    "keeps float32 between layers"
)


@dataclass(frozen=True)
class Graph:
    """A graph of a bundle's entry, and its name in tables."""

    title: str
    model: onnx.ModelProto
    entry: FileEntry


def check_layers(
    bundle: Bundle, precision: Precision | None = None, progress: Progress = lambda step: None
) -> list[LayerReport]:
    """Compare the ONNX cores of a bundle, offline and streaming, with the float32 network.

    Those of float32 are left out unless `precision` asks for them. The input is the longest of the
    parity vectors. Raises UserError where there is nothing to compare, and BundleError for files
    that cannot be read.
    """
    entries = [
        entry
        for entry in bundle.manifest.files
        if entry.role in _STAGES
        and entry.format == "onnx"
        and (entry.precision != "fp32" if precision is None else entry.precision == precision)
    ]
    if not entries:
        kinds = f"{precision} core" if precision else "core in less than float32"
        raise UserError(
            f"{bundle.path}: no {kinds} as ONNX to compare layer by layer; run: "
            f"{_making(bundle, precision)}"
        )
    cases = read_cases(bundle)
    reports = []
    for entry in entries:
        progress(f"comparing the layers of {entry.path}")
        reports.append(_check(bundle, entry, longest_case(bundle, entry, cases)))
    return reports


def _making(bundle: Bundle, precision: Precision | None) -> str:
    """The command that makes the core of a precision; None is any less than float32."""
    if precision == "fp32":
        return export_again(bundle.manifest)
    if precision in QUANTIZED:
        return calibrate_command(bundle.path, "tensorrt", precision)
    return with_fp16(bundle.manifest)


def longest_case(bundle: Bundle, entry: FileEntry, cases: Sequence[Case]) -> Case:
    """The longest single input of the parity vectors for a core. Raises BundleError without one."""
    stage = _STAGES[entry.role]
    found = [
        case for case in cases if case.stage == stage and len(case.input) == 1 and not is_loud(case)
    ]
    if not found:
        raise BundleError(
            f"{bundle.path}: no parity vectors of the stage {stage}; run: "
            f"{export_again(bundle.manifest)}"
        )
    return max(found, key=lambda case: case.input.size)


def _check(bundle: Bundle, entry: FileEntry, case: Case) -> LayerReport:
    with read_graph(bundle, entry) as model:
        half = float16_graph(model)
        graph = Graph(entry.path, rounded(half) if half.tensors else model, entry)
        reference, matches = closest_reference(bundle, graph)
        runs = (
            run_with_outputs(reference, [match.expected for match in matches.matches]),
            run_with_outputs(graph, [match.output for match in matches.matches]),
        )
        remark = _ROUNDED if half.tensors else ""
        return layer_report(graph, reference, matches, runs, case, remark)


def closest_reference(bundle: Bundle, graph: Graph) -> tuple[Graph, LayerMatches]:
    """The float32 graph that has the most layers in common with a graph. Raises BundleError."""
    matched = [(each, match_layers(each.model, graph.model)) for each in _references(bundle, graph)]
    return max(matched, key=lambda pair: len(pair[1].matches))


def _references(bundle: Bundle, graph: Graph) -> Iterator[Graph]:
    """The float32 core, and the float16 one computed in float32: it may be of another form."""
    entry = graph.entry
    exact = bundle.manifest.file(entry.role, "onnx")
    if exact is None:
        raise BundleError(
            f"{bundle.path}: no float32 core to compare {entry.path} with; run: "
            f"{export_again(bundle.manifest)}"
        )
    with read_graph(bundle, exact) as model:
        yield Graph(exact.path, model, exact)
    fp16 = bundle.manifest.file(entry.role, "onnx", "fp16")
    if fp16 is not None and entry.precision != "fp32":
        with read_graph(bundle, fp16) as model:
            yield Graph(f"{fp16.path} computed in float32", in_float32(model, {}), fp16)


def run_with_outputs(graph: Graph, tensors: Sequence[str]) -> Runs:
    """The graph in ONNX Runtime on the processor, with these tensors as further outputs."""
    return Runs(graph.entry, session_call(with_outputs(graph.model, tensors)))


def layer_report(
    graph: Graph,
    reference: Graph,
    matches: LayerMatches,
    runs: tuple[Runs, Runs],
    case: Case,
    remark: str,
) -> LayerReport:
    """Run the reference and the file on a case, call by call, and compare their layers."""
    found = matches.matches
    differences = [Difference() for _ in found]
    alike = [True] * len(found)
    outputs: list[Float32Array] = []
    expected = run_calls(runs[0], case.input, [match.expected for match in found])
    given = run_calls(runs[1], case.input, [match.output for match in found])
    for one, other in zip(expected, given, strict=True):
        if other.output is not None:
            outputs.append(other.output)
        for index, exact in one.layers.items():
            values = other.layers[index]
            alike[index] &= values.shape == exact.shape
            if alike[index]:
                differences[index].add(exact, values)
    kept = [index for index, same in enumerate(alike) if same]
    snrs = [differences[index].snr_db for index in kept]
    reads = layers_read(reference.model, [found[index].expected for index in kept])
    fallen = drops(snrs, reads, graph.entry.precision)
    layers = [
        LayerSnr(found[index].layer.name, found[index].layer.op_type, round(snr, 2), round(drop, 2))
        for index, snr, drop in zip(kept, snrs, fallen, strict=True)
    ]
    differing = [found[index].layer.name for index, same in enumerate(alike) if not same]
    streaming = graph.entry.streaming
    late = streaming.lookahead if streaming else 0
    output = np.concatenate(outputs, axis=-1)[..., late : late + case.input.shape[-1]]
    name = f"{case.stage}.{case.name}"
    return LayerReport(
        graph.title,
        reference.title,
        name,
        layers,
        compare(graph.title, name, case.output, output, graph.entry),
        (*matches.unmatched, *differing),
        (*matches.further, *differing),
        remark,
    )
