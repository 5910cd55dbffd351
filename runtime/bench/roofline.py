"""Each layer's rate against what this machine can do: where the next optimisation is.

A layer with n operations that moves b bytes can run at min(peak, n / b * bandwidth) at most
(Williams et al., "Roofline", CACM 2009). The peak is that of a large matrix product in ONNX
Runtime, the bandwidth that of copies, see `peaks`.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frcrn_export.runtime.bench.cases import core_input, speech_of
from frcrn_export.runtime.bench.counters import made_for_processors, optimised_graph, require_onnx
from frcrn_export.runtime.bench.peaks import Peaks, measure_peaks
from frcrn_export.runtime.bench.result import LayerRate, Roofline
from frcrn_export.runtime.bundle.graph_cost import multiplications
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError, UserError, reading
from frcrn_export.runtime.sessions.onnx import check_file, session_options
from frcrn_export.runtime.sessions.run_limit import Opening
from frcrn_export.runtime.streaming.transforms import initial_state

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_Tensor = tuple[str, tuple[int, ...]]  # type and shape

_RUNS, _WARM_UPS = 12, 3
# Names of types in profiles that NumPy has others for.
_TYPES = {"float": "float32", "double": "float64"}
# What ONNX Runtime fuses, by the operator whose operations it has.
_PLAIN = {"FusedConv": "Conv", "FusedMatMul": "MatMul", "FusedGemm": "Gemm"}
_MOST_PROFILE_BYTES = 1 << 30


def measure_rooflines(bundle: Bundle, threads: int, files: Sequence[str] = ()) -> list[Roofline]:
    """The roofline of every core of a bundle that a processor runs.

    Args:
        bundle: An opened bundle.
        threads: Of a call.
        files: Paths in the bundle; empty means all.

    Raises:
        UserError: No such core, or the onnx package is missing.
        BackendError: A file that ONNX Runtime cannot run.
    """
    require_onnx()
    entries = [
        entry
        for entry in bundle.manifest.files
        if made_for_processors(entry)
        and entry.role in ("core", "core_streaming")
        and (not files or entry.path in files)
    ]
    if not entries:
        raise UserError(f"{bundle.path}: no ONNX core in it that a processor runs")
    peaks = measure_peaks(threads)
    return [_of_file(bundle, entry, threads, peaks) for entry in entries]


def _of_file(bundle: Bundle, entry: FileEntry, threads: int, peaks: Peaks) -> Roofline:
    times: defaultdict[str, list[float]] = defaultdict(list)
    last: dict[str, dict[str, Any]] = {}
    for event in _profile(bundle, entry, threads):
        name = str(event["name"]).removesuffix("_kernel_time")
        times[name].append(float(event["dur"]) / 1e3)
        last[name] = event["args"]
    medians = {name: float(np.median(values)) for name, values in times.items()}
    total = sum(medians.values())
    graph = optimised_graph(bundle, entry)
    tensors = _tensors(graph, last)
    layers = [
        _rate(node, medians[node.name], total, tensors, peaks)
        for node in graph.node
        if node.name in medians
    ]
    return Roofline(
        path=entry.path,
        threads=threads,
        peak_gflops=peaks.gflops,
        peak_int8_gops=peaks.int8_gops,
        bandwidth_gbytes=peaks.memory_gbytes,
        cache_gbytes=peaks.cache_gbytes,
        total_ms=total,
        layers=tuple(sorted(layers, key=lambda layer: -layer.ms)),
    )


def _tensors(graph: "onnx.GraphProto", events: Mapping[str, dict[str, Any]]) -> dict[str, _Tensor]:
    """Types and shapes: of weights from the graph, since layers lay them out anew and drop them.

    Of what the nodes exchange from the profile, which has [{"float": [1, 2]}, ...] for each.
    """
    from onnx import helper

    found = {
        weight.name: (str(helper.tensor_dtype_to_np_dtype(weight.data_type)), tuple(weight.dims))
        for weight in graph.initializer
    }
    for node in graph.node:
        arguments = events.get(node.name, {})
        for names, side in ((node.input, "input"), (node.output, "output")):
            shapes = arguments.get(f"{side}_type_shape") or ()
            named = [name for name in names if name and name not in found]
            if side == "input":
                shapes = shapes[: len(named)]
            for name, each in zip(named, shapes, strict=False):
                ((dtype, shape),) = each.items()
                found[name] = (_TYPES.get(dtype, dtype), tuple(shape))
    return found


def _rate(
    node: "onnx.NodeProto",
    ms: float,
    total: float,
    tensors: Mapping[str, _Tensor],
    peaks: Peaks,
) -> LayerRate:
    there = [tensors[name] for name in (*node.input, *node.output) if name in tensors]
    moved = sum(np.dtype(dtype).itemsize * prod(shape) for dtype, shape in there)
    operations = 2 * _multiplications(node, tensors)
    seconds = max(ms, 1e-6) / 1e3
    in_8_bits = operations > 0 and any(dtype in ("uint8", "int8") for dtype, _ in there)
    reached, in_cache = peaks.reached(operations, moved, seconds, in_8_bits=in_8_bits)
    return LayerRate(
        name=node.name[:255],
        operator=node.op_type[:255],
        ms=ms,
        share=ms / total if total else 0.0,
        gflops=operations / seconds / 1e9,
        gbytes=moved / seconds / 1e9,
        reached=reached,
        in_cache=in_cache,
        shapes=" x ".join(str(list(tensors[n][1])) for n in node.input[:2] if n in tensors)[:255],
    )


def _multiplications(node: "onnx.NodeProto", tensors: Mapping[str, _Tensor]) -> int:
    """Those of a node; a fused one has those of what it was. 0 where shapes are not known."""
    from onnx import helper

    plain = helper.make_node(_PLAIN.get(node.op_type, node.op_type), node.input, node.output)
    plain.attribute.extend(a for a in node.attribute if a.name in ("equation", "transA"))
    return multiplications(plain, {name: shape for name, (_, shape) in tensors.items()}) or 0


def _profile(bundle: Bundle, entry: FileEntry, threads: int) -> list[dict[str, Any]]:
    """The events of all nodes in some runs, as ONNX Runtime's profiler writes them."""
    import onnxruntime

    path = check_file(bundle, entry)
    remedy = "run: frcrn-export doctor"
    with (
        tempfile.TemporaryDirectory() as folder,
        reading(path, "ONNX Runtime cannot profile it", remedy, BackendError),
    ):
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        with Opening(options):
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        feeds = _feeds(bundle, entry, session)
        for _ in range(_WARM_UPS + _RUNS):
            session.run(None, feeds)
        written = Path(session.end_profiling())
        if (size := written.stat().st_size) > _MOST_PROFILE_BYTES:
            raise ValueError(f"a profile of {size / 1e6:.0f} MB")
        events = json.loads(written.read_text())
    nodes = [
        event
        for event in events
        if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time")
    ]
    return nodes[len(nodes) * _WARM_UPS // (_WARM_UPS + _RUNS) :]


def _feeds(
    bundle: Bundle, entry: FileEntry, session: "onnxruntime.InferenceSession"
) -> dict[str, Any]:
    """A second of speech, or a hop of it with the states at its beginning."""
    manifest = bundle.manifest
    wave = np.resize(speech_of(bundle), manifest.sample_rate).astype(np.float32)
    whole = core_input(manifest, wave, 1)
    if entry.streaming is None:
        return {session.get_inputs()[0].name: whole}
    feeds: dict[str, Any] = {
        entry.inputs[0].name: np.ascontiguousarray(whole[..., : entry.streaming.chunk]),
        **{state.name: initial_state(state) for state in entry.streaming.states},
    }
    if entry.streaming.end is not None:
        feeds[entry.streaming.end] = np.full(1, UNKNOWN_END, np.float32)
    return feeds
