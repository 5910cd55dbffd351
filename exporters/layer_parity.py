"""A file of a bundle against the float32 network, layer by layer; see `runtime.verify.layers`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from frcrn_export.exporters.float16.graph import float16_graph
from frcrn_export.exporters.float16.rounding import in_float32, rounded
from frcrn_export.exporters.graph_edits import copy_of
from frcrn_export.exporters.layer_matches import LayerMatches, layers_read, match_layers
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry, Precision, Role
from frcrn_export.runtime.bundle.onnx_file import foreign_part
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import export_again, make_again
from frcrn_export.runtime.errors import BackendError, BundleError, UserError, reading
from frcrn_export.runtime.sessions.onnx import session_options
from frcrn_export.runtime.streaming.transforms import initial_state
from frcrn_export.runtime.verify.layers import Difference, LayerReport, LayerSnr, drops
from frcrn_export.runtime.verify.parity import Case, compare, read_cases

Arrays = Mapping[str, npt.NDArray[Any]]
Progress = Callable[[str], None]

_STAGES: dict[Role, str] = {"core": "core", "core_streaming": "streaming"}
# Of one offline call; the outputs of all layers of a large network take gigabytes.
_LAYERS_AT_ONCE = 32
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
    cases = read_cases(bundle)
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
            f"{export_again(bundle.manifest)}"
        )
    reports = []
    for entry in entries:
        progress(f"comparing the layers of {entry.path}")
        reports.append(_check(bundle, entry, longest_case(bundle, entry, cases)))
    return reports


def longest_case(bundle: Bundle, entry: FileEntry, cases: Sequence[Case]) -> Case:
    """The longest single input of the parity vectors for a core. Raises BundleError without one."""
    stage = _STAGES[entry.role]
    found = [case for case in cases if case.stage == stage and len(case.input) == 1]
    if not found:
        raise BundleError(
            f"{bundle.path}: no parity vectors of the stage {stage}; run: "
            f"{export_again(bundle.manifest)}"
        )
    return max(found, key=lambda case: case.input.size)


def _check(bundle: Bundle, entry: FileEntry, case: Case) -> LayerReport:
    with _reading(bundle, entry):
        graph = Graph(entry.path, read_graph(bundle, entry), entry)
        half = float16_graph(graph.model)
        if half.tensors:
            graph = replace(graph, model=rounded(half))
        references = list(_references(bundle, entry))
        matched = [(each, match_layers(each.model, graph.model)) for each in references]
        reference, matches = max(matched, key=lambda pair: len(pair[1].matches))
        runs = (
            run_with_outputs(reference, [match.expected for match in matches.matches]),
            run_with_outputs(graph, [match.output for match in matches.matches]),
        )
        remark = _ROUNDED if half.tensors else ""
        return layer_report(graph, reference, matches, runs, case, remark)


def _references(bundle: Bundle, entry: FileEntry) -> Iterator[Graph]:
    """The float32 core, and the float16 one computed in float32: it may be of another form."""
    exact = bundle.manifest.file(entry.role, "onnx")
    if exact is None:
        raise BundleError(
            f"{bundle.path}: no float32 core to compare {entry.path} with; run: "
            f"{export_again(bundle.manifest)}"
        )
    yield Graph(exact.path, read_graph(bundle, exact), exact)
    fp16 = bundle.manifest.file(entry.role, "onnx", "fp16")
    if fp16 is not None and entry.precision != "fp32":
        model = in_float32(read_graph(bundle, fp16), {})
        yield Graph(f"{fp16.path} computed in float32", model, fp16)


def _reading(bundle: Bundle, entry: FileEntry) -> Any:
    remedy = f"run: {make_again(bundle.path, bundle.manifest, entry)}"
    return reading(bundle.file(entry), "its layers cannot be compared", remedy)


def read_graph(bundle: Bundle, entry: FileEntry) -> onnx.ModelProto:
    """The ONNX graph of an entry. Raises ValueError for one that no export of ours has."""
    path = bundle.file(entry)
    if (foreign := foreign_part(path)) is not None:
        raise ValueError(f"it holds {foreign}")
    return onnx.load(path)


Call = Callable[[Arrays, Sequence[str]], Arrays]  # inputs, and the outputs to return


@dataclass(frozen=True)
class Runs:
    """A graph that gives further tensors as outputs, and its states."""

    entry: FileEntry
    call: Call


def run_with_outputs(graph: Graph, tensors: Sequence[str]) -> Runs:
    """The graph in ONNX Runtime on the processor, with these tensors as further outputs."""
    return Runs(graph.entry, session_call(with_outputs(graph.model, tensors)))


def with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """A copy with these float32 tensors as further outputs."""
    there = {value.name for value in model.graph.output}
    copied = copy_of(model)
    copied.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in dict.fromkeys(tensors)
        if name not in there
    )
    return copied


def session_call(model: onnx.ModelProto) -> Call:
    """A model in ONNX Runtime on the processor. Raises BackendError where it does not load."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(None), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise BackendError(f"ONNX Runtime cannot load it: {error}") from error

    def call(inputs: Arrays, names: Sequence[str]) -> Arrays:
        return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))

    return call


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
    expected = _calls(runs[0], case.input, [match.expected for match in found])
    given = _calls(runs[1], case.input, [match.output for match in found])
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


@dataclass(frozen=True)
class _Called:
    """Some layers' outputs of a call by index, and with the last of them the core's output."""

    layers: Mapping[int, npt.NDArray[Any]]
    output: Float32Array | None


def _calls(runs: Runs, given: Float32Array, tensors: Sequence[str]) -> Iterator[_Called]:
    """Run a core on whole streams [1, ..., T], or an offline core on one utterance.

    Zeros follow a stream until its last frame has come out, as in `verify.streaming_parity`.
    """
    entry, info = runs.entry, runs.entry.streaming
    name, result = entry.inputs[0].name, entry.outputs[0].name
    if info is None:
        for indices in _groups(len(tensors), _LAYERS_AT_ONCE):
            last = indices.stop == len(tensors)
            asked = [*(tensors[i] for i in indices), *(result,) * last]
            made = runs.call({name: given}, [*dict.fromkeys(asked)])
            yield _Called({i: made[tensors[i]] for i in indices}, made[result] if last else None)
        return
    frames = given.shape[-1]
    calls = ceil((frames + info.lookahead) / info.chunk)
    padded = np.pad(given, [(0, 0)] * (given.ndim - 1) + [(0, calls * info.chunk - frames)])
    states: dict[str, npt.NDArray[Any]] = {s.name: initial_state(s) for s in info.states}
    names = [*dict.fromkeys((*tensors, result, *(state.next for state in info.states)))]
    for stop in range(info.chunk, calls * info.chunk + 1, info.chunk):
        inputs = {name: padded[..., stop - info.chunk : stop], **states}
        if info.end is not None:
            inputs[info.end] = np.array([frames if stop > frames else UNKNOWN_END], np.float32)
        made = runs.call(inputs, names)
        states = {state.name: made[state.next] for state in info.states}
        yield _Called({i: made[tensor] for i, tensor in enumerate(tensors)}, made[result])


def _groups(count: int, size: int) -> Iterable[range]:
    """The numbers below `count` in ranges of `size`; one empty range for none."""
    return [range(start, min(start + size, count)) for start in range(0, max(count, 1), size)]
