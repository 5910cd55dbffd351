"""Ranges: the values of a float core's tensors on calibration clips, cached by data and model."""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from frcrn_export.calibration.clips import ClipSet, read_clip
from frcrn_export.calibration.feeds import Feed, Outputs, calls
from frcrn_export.calibration.histogram import BINS, Histogram, histogram, merge
from frcrn_export.exporters.graph_edits import copy_of, replace_nodes
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.cache import cache_dir
from frcrn_export.runtime.errors import BackendError, CheckFailed
from frcrn_export.runtime.sessions.onnx import session_options

if TYPE_CHECKING:
    import onnxruntime


# No tensor of a network begins with a dot.
_POSITIONS, _FLAT = ".observed.positions", ".observed.flat"
_LOWS, _HIGHS, _SAMPLES = ".observed.lows", ".observed.highs", ".observed.samples"


def with_observers(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """A copy that measures `tensors`, T of them.

    It has one more input, the K positions in [0, 1) of the samples, float64, and three more
    outputs, float32: the minima [T], the maxima [T] and the samples [T * K]. Raises ValueError for
    a tensor that the graph does not compute.
    """
    observed = copy_of(model)
    graph = observed.graph
    computed = {name for node in graph.node for name in node.output}
    known = computed | {value.name for value in graph.input}
    if missing := [name for name in tensors if name not in known]:
        raise ValueError(f"the graph does not compute {', '.join(missing[:3])}")
    after: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for index, name in enumerate(tensors):
        after[name] = _observer(name, f".observed.{index}")
    # Directly after the node that computes a tensor, so that the tensor can be freed.
    nodes = [node for value in graph.input for node in after[value.name]]
    for node in graph.node:
        nodes.append(node)
        nodes.extend(added for name in node.output for added in after[name])
    for output, part in ((_LOWS, "low"), (_HIGHS, "high"), (_SAMPLES, "samples")):
        parts = [f".observed.{index}.{part}" for index in range(len(tensors))]
        nodes.append(helper.make_node("Concat", parts, [output], axis=0))
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [None]))
    replace_nodes(graph, nodes, {_FLAT: np.array([-1], np.int64)})
    graph.input.append(helper.make_tensor_value_info(_POSITIONS, TensorProto.DOUBLE, ["K"]))
    return observed


def _observer(tensor: str, name: str) -> list[onnx.NodeProto]:
    def node(operator: str, inputs: list[str], part: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, [f"{name}.{part}"], **attributes)

    values = f"{name}.values"
    return [
        node("Cast", [tensor], "float", to=TensorProto.FLOAT),  # of a float16 tensor
        node("Reshape", [f"{name}.float", _FLAT], "values"),
        node("ReduceMin", [values], "low", keepdims=1),
        node("ReduceMax", [values], "high", keepdims=1),
        node("Size", [values], "size"),
        node("Cast", [f"{name}.size"], "size.double", to=TensorProto.DOUBLE),
        node("Mul", [_POSITIONS, f"{name}.size.double"], "positions"),
        node("Cast", [f"{name}.positions"], "indices", to=TensorProto.INT64),
        node("Gather", [values, f"{name}.indices"], "samples"),
    ]


class Observer:
    """A core that runs on the CPU while its tensors are measured."""

    def __init__(
        self, model: onnx.ModelProto, tensors: Sequence[str], samples: int, threads: int | None
    ) -> None:
        """`samples`: the number K of values of each tensor that a call counts.

        Raises ValueError for an unknown tensor, BackendError for a model that cannot run.
        """
        self._tensors = tuple(tensors)
        self._samples = samples
        self._session = open_session(with_observers(model, tensors), threads)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Reset the histograms. `seed` decides which values are counted."""
        self._random = np.random.default_rng(seed)
        self._lows: list[Float32Array] = []
        self._highs: list[Float32Array] = []
        self._counted: list[Float32Array] = []

    def run(self, feed: Feed) -> Outputs:
        """Run one call; gives its outputs by name."""
        # One value of each of K equal parts, so that samples are spread evenly.
        offsets = self._random.random(self._samples, np.float32)
        positions = (np.arange(self._samples) + offsets) / self._samples  # float64
        found = self._session.run(self._outputs, {**feed, _POSITIONS: positions})
        outputs = dict(zip(self._outputs, found, strict=True))
        self._lows.append(outputs.pop(_LOWS))
        self._highs.append(outputs.pop(_HIGHS))
        self._counted.append(outputs.pop(_SAMPLES).reshape(len(self._tensors), -1))  # [T, K]
        return outputs

    def histograms(self) -> dict[str, Histogram]:
        """The histogram of each tensor over the calls since `begin`, one or more.

        Raises CheckFailed where a value is not finite.
        """
        lows, highs = np.min(self._lows, axis=0), np.max(self._highs, axis=0)  # [T]
        counted = np.concatenate(self._counted, axis=1)  # [T, calls * K]
        finite = np.isfinite(lows) & np.isfinite(highs) & np.isfinite(counted).all(axis=1)
        if not finite.all():
            name = self._tensors[int(np.argmin(finite))]
            raise CheckFailed(f"{name} is not finite")
        return {
            name: histogram(counted[i], float(lows[i]), float(highs[i]))
            for i, name in enumerate(self._tensors)
        }


def open_session(model: onnx.ModelProto, threads: int | None) -> "onnxruntime.InferenceSession":
    """ONNX Runtime on the CPU, in the graph's order. Raises BackendError if it cannot load it."""
    import onnxruntime

    options = session_options(threads)
    # In the graph's order; ONNX Runtime's default would measure last and hold all tensors.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise BackendError(f"ONNX Runtime cannot load the network to observe: {error}") from error


Ranges = Mapping[str, Histogram]
Progress = Callable[[int, int], None]

# The loudest part of each clip. It fits two windows of 1 s every 0.75 s without padding. 64 of them
# are 8000 frames of 20 ms.
OBSERVED_SECONDS = 2.5
# The number of values of each tensor that a call counts. A stream has a hundred calls or more.
_COUNTED, _COUNTED_STREAMING = 1 << 15, 1 << 8
_SAVE_SECONDS = 15.0  # between two saves
# Version of the cache: of what is measured and how it is stored.
_VERSION = 1


@dataclass(frozen=True)
class _Partial:
    """The histograms of the first `done` clips."""

    done: int
    ranges: Ranges


def observe(
    model: onnx.ModelProto | Path,
    tensors: Sequence[str],
    manifest: Manifest,
    entry: FileEntry,
    clips: ClipSet,
    *,
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Histogram]:
    """Run a float core on the clips and measure tensors: inputs, or outputs of nodes.

    `model` has the I/O signature of the bundle's file `entry`. `progress` is called with the number
    of clips done and their total. An interrupted run continues where it was; finished results come
    from the cache. Raises ValueError for an unknown tensor, AudioError for a clip that changed,
    BackendError where ONNX Runtime cannot load the model, CheckFailed where a value is not finite.
    """
    tensors = list(dict.fromkeys(tensors))
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    cache = cache_dir() / "calibration" / f"{_key(content, tensors, manifest, entry, clips)}.npz"
    total = len(clips.clips)
    partial = _load(cache, tensors)
    progress(partial.done, total)
    if partial.done < total:
        loaded = onnx.load(model) if isinstance(model, Path) else model
        counted = _COUNTED if entry.streaming is None else _COUNTED_STREAMING
        observer = Observer(loaded, tensors, counted, threads)
        del loaded
        saved, saved_at = partial, monotonic()
        try:
            while partial.done < total:
                partial = _with_next(partial, observer, manifest, entry, clips)
                progress(partial.done, total)
                if monotonic() - saved_at > _SAVE_SECONDS:
                    _save(cache, partial)
                    saved, saved_at = partial, monotonic()
        finally:
            if partial is not saved:
                _save(cache, partial)
    return dict(partial.ranges)


def _with_next(
    partial: _Partial, observer: Observer, manifest: Manifest, entry: FileEntry, clips: ClipSet
) -> _Partial:
    clip = clips.clips[partial.done]
    audio = read_clip(clip, clips.sample_rate)
    observer.begin(seed=partial.done)
    for _ in calls(manifest, entry, audio, observer.run, OBSERVED_SECONDS):
        pass
    try:
        found = observer.histograms()
    except CheckFailed as error:
        raise CheckFailed(
            f"{clip.path}: {error} in {entry.path}; remove this recording from the calibration "
            "folder"
        ) from error
    if partial.ranges:
        found = {name: merge([partial.ranges[name], found[name]]) for name in found}
    return _Partial(partial.done + 1, found)


def _key(
    content: bytes, tensors: Sequence[str], manifest: Manifest, entry: FileEntry, clips: ClipSet
) -> str:
    """The cache key: everything that decides the result."""
    parts = (
        (_VERSION, OBSERVED_SECONDS, _COUNTED, _COUNTED_STREAMING, BINS),
        hashlib.sha256(content).hexdigest(),
        tensors,
        (manifest.sample_rate, manifest.stft, manifest.level, manifest.padding, manifest.segments),
        (entry.inputs, entry.outputs, entry.streaming),
        clips.sha256,
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _save(path: Path, partial: _Partial) -> None:
    histograms = list(partial.ranges.values())
    stream = BytesIO()
    np.savez_compressed(
        stream,
        done=partial.done,
        extremes=np.array([(each.low, each.high, each.limit) for each in histograms]),
        counts=np.stack([each.counts for each in histograms]),
    )
    replace_file(path, stream.getvalue())


def _load(path: Path, tensors: Sequence[str]) -> _Partial:
    """The cached histograms, or none where they cannot be read."""
    try:
        with np.load(path) as kept:
            done, extremes, counts = int(kept["done"]), kept["extremes"], kept["counts"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return _Partial(0, {})
    ranges = {
        name: Histogram(float(low), float(high), float(limit), each)
        for name, (low, high, limit), each in zip(tensors, extremes, counts, strict=True)
    }
    return _Partial(done, ranges)
