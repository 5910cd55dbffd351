"""Running ONNX cores that give further tensors as outputs: offline, or whole streams."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from frcrn_export.exporters.graph_edits import copy_of
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.onnx import session_options
from frcrn_export.runtime.streaming.transforms import initial_state

Arrays = Mapping[str, npt.NDArray[Any]]

# Of one offline call; the outputs of all layers of a large network take gigabytes.
_LAYERS_AT_ONCE = 32

Call = Callable[[Arrays, Sequence[str]], Arrays]  # inputs, and the outputs to return


@dataclass(frozen=True)
class Runs:
    """A graph that gives further tensors as outputs, and its states."""

    entry: FileEntry
    call: Call


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


@dataclass(frozen=True)
class Called:
    """Some layers' outputs of a call by index, and with the last of them the core's output."""

    layers: Mapping[int, npt.NDArray[Any]]
    output: Float32Array | None


def run_calls(runs: Runs, given: Float32Array, tensors: Sequence[str]) -> Iterator[Called]:
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
            yield Called({i: made[tensors[i]] for i in indices}, made[result] if last else None)
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
        yield Called({i: made[tensor] for i, tensor in enumerate(tensors)}, made[result])


def _groups(count: int, size: int) -> Iterable[range]:
    """The numbers below `count` in ranges of `size`; one empty range for none."""
    return [range(start, min(start + size, count)) for start in range(0, max(count, 1), size)]


def core_output(runs: Runs, given: Float32Array) -> Float32Array:
    """The output of a core for whole streams [1, ..., T], or one utterance: the same shape."""
    made = [call.output for call in run_calls(runs, given, ()) if call.output is not None]
    late = runs.entry.streaming.lookahead if runs.entry.streaming else 0
    return np.concatenate(made, axis=-1)[..., late : late + given.shape[-1]]
