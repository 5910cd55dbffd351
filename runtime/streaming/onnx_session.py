"""Streaming cores in ONNX Runtime: bound buffers, states that stay on the device."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry, StreamingInfo, TensorSpec
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import make_again
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.onnx import OnnxSession, open_best, open_cpu, open_cuda
from frcrn_export.runtime.sessions.run_limit import RunLimit
from frcrn_export.runtime.streaming.transforms import StateArray, initial_state

if TYPE_CHECKING:
    import onnxruntime

# A hop is too short to share. More threads save a fifth of its time, or nothing, and wait busily.
_THREADS = 1
# A dtype of the manifest, and ONNX Runtime's name for it.
_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
_OPENERS = {"onnxruntime": open_best, "onnxruntime-cpu": open_cpu, "onnxruntime-cuda": open_cuda}


def open_onnx(
    bundle: Bundle, entry: FileEntry, backend: str, threads: int | None
) -> "OnnxStreamSession":
    """Open a streaming core with one row. Raises BackendError where it does not load or match.

    The manifest names its tensors. `threads` is one by default.
    """
    opened = _OPENERS[backend](bundle, entry, threads or _THREADS, spinning=False)
    for kind, wanted, found in (
        ("inputs", entry.call_inputs, opened.session.get_inputs()),
        ("outputs", entry.call_outputs, opened.session.get_outputs()),
    ):
        own = {tensor.name: tensor for tensor in found}
        others = {tensor.name for tensor in wanted}.symmetric_difference(own)
        others |= {t.name for t in wanted if t.name in own and not _alike(t, own[t.name])}
        if others:
            raise BackendError(
                f"{bundle.file(entry)}: not the file that the manifest describes, other {kind}: "
                f"{', '.join(sorted(others))}; run: "
                f"{make_again(bundle.path, bundle.manifest, entry)}"
            )
    return OnnxStreamSession(opened)


def _alike(wanted: TensorSpec, found: "onnxruntime.NodeArg") -> bool:
    """Whether the types and all sizes that both state are equal."""
    sizes = zip(wanted.shape, found.shape, strict=False)
    known = ((a, b) for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    return all(a == b for a, b in known) and _TYPES.get(wanted.dtype) == found.type


class OnnxStreamSession:
    """A streaming core and two sets of states: each call reads one and writes the other.

    Inputs, outputs and states are bound once for a batch size: a call allocates nothing here, and
    the states stay on the device. All batch sizes share the memory of the largest.
    """

    def __init__(self, opened: OnnxSession) -> None:
        entry = opened.entry
        assert entry.streaming is not None
        self.backend, self.device = opened.backend, opened.device
        self._session = opened.session
        self.entry: FileEntry = entry
        self._info: StreamingInfo = entry.streaming
        self._now = 0  # the set of states that the next call reads
        self._allocate(1)
        self._take_rows(1)
        self.reset()

    def run(self, inputs: Float32Array, ends: Float32Array) -> Float32Array:
        for buffer, own, given in (
            (self._input, self.inputs, inputs),
            (self._ends, self.ends, ends),
        ):
            if given is not own:
                np.copyto(own, given)
            buffer.to_device()
        try:
            self._limit.run(self._session.run_with_iobinding, self._bound[self._now])
        except BackendError as error:
            raise BackendError(f"{error}; call reset() to go on") from error
        self._now = 1 - self._now
        return self._enhanced

    def reset(self, rows: Sequence[int] | None = None) -> None:
        with self.editing() as states:
            for state, spec in zip(states, self._info.states, strict=True):
                state[slice(None) if rows is None else list(rows)] = spec.initial

    def states(self) -> list[StateArray]:
        batch = len(self.inputs)
        return [buffer.from_device()[:batch].copy() for buffer in self._states[self._now]]

    def load(self, states: Sequence[StateArray], batch: int) -> None:
        self.resize(batch)
        with self.editing() as own:
            for state, given in zip(own, states, strict=True):
                state[:] = given

    @contextmanager
    def editing(self) -> Iterator[list[StateArray]]:
        batch, buffers = len(self.inputs), self._states[self._now]
        yield [buffer.from_device()[:batch] for buffer in buffers]
        for buffer in buffers:
            buffer.to_device()

    def resize(self, batch: int) -> None:
        if batch > len(self._input.host):
            held = self.states()
            self._allocate(batch)
            self._take_rows(len(held[0]) if held else batch)
            with self.editing() as states:
                for state, before in zip(states, held, strict=True):
                    state[:] = before
        if batch != len(self.inputs):
            self._take_rows(batch)

    def initial_states(self) -> list[StateArray]:
        return [initial_state(spec) for spec in self._info.states]

    def _allocate(self, capacity: int) -> None:
        """Allocate buffers for this many rows."""
        row = tuple(map(int, self.entry.inputs[0].shape[1:]))
        self._input = _Buffer((capacity, *row), self.device)
        self._ends = _Buffer((capacity,), self.device)
        self._output = _Buffer((capacity, *row), "cpu")
        self._states = [
            [
                _Buffer((capacity, *spec.row_shape), self.device, spec.dtype)
                for spec in self._info.states
            ]
            for _ in range(2)
        ]
        self._bindings: dict[int, list[onnxruntime.IOBinding]] = {}
        self.inputs = self._input.host[:0]

    def _take_rows(self, batch: int) -> None:
        """Bind the first `batch` rows of the buffers."""
        if batch not in self._bindings:
            first, second = self._states
            self._bindings[batch] = [
                self._binding(batch, first, second),
                self._binding(batch, second, first),
            ]
        self._bound = self._bindings[batch]
        self.inputs = self._input.host[:batch]
        self.ends = self._ends.host[:batch]
        self._enhanced = self._output.host[:batch]
        self._limit = RunLimit(f"{self.entry.path}: {self.backend}", self.device, self.inputs.size)

    def _binding(
        self, batch: int, before: "Sequence[_Buffer]", after: "Sequence[_Buffer]"
    ) -> "onnxruntime.IOBinding":
        inputs = {self.entry.inputs[0].name: self._input}
        outputs = {self.entry.outputs[0].name: self._output}
        if self._info.end is not None:
            inputs[self._info.end] = self._ends
        for spec, old, new in zip(self._info.states, before, after, strict=True):
            inputs[spec.name], outputs[spec.next] = old, new
        binding = self._session.io_binding()
        for name, buffer in inputs.items():
            binding.bind_input(name, *buffer.rows(batch))
        for name, buffer in outputs.items():
            binding.bind_output(name, *buffer.rows(batch))
        return binding


class _Buffer:
    """An array on the session's device and on the host; on a CPU they are the same memory."""

    def __init__(
        self, shape: tuple[int, ...], device: str, dtype: npt.DTypeLike = np.float32
    ) -> None:
        from onnxruntime import OrtValue

        self.host: npt.NDArray[Any] = np.zeros(shape, dtype)
        self._device = device
        self._value = OrtValue.ortvalue_from_numpy(self.host, device, 0)

    def to_device(self) -> None:
        if self._device != "cpu":
            self._value.update_inplace(self.host)

    def from_device(self) -> StateArray:
        if self._device != "cpu":
            self.host = self._value.numpy()
        return self.host

    def rows(self, batch: int) -> tuple[str, int, type, tuple[int, ...], int]:
        """The first rows as ONNX Runtime's binding takes them: device, type, shape, address."""
        shape = (batch, *self.host.shape[1:])
        return self._device, 0, self.host.dtype.type, shape, self._value.data_ptr()
