"""Streaming cores in ONNX Runtime: bound buffers, states that stay on the device."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from frcrn_export.runtime.audio import Float32Array
from frcrn_export.runtime.bundle import Bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.manifest import FileEntry, StateSpec, StreamingInfo
from frcrn_export.runtime.sessions.onnx import OnnxSession, open_best, open_cpu, open_cuda

if TYPE_CHECKING:
    import onnxruntime

_OPENERS = {"onnxruntime": open_best, "onnxruntime-cpu": open_cpu, "onnxruntime-cuda": open_cuda}


def open_onnx(
    bundle: Bundle, entry: FileEntry, backend: str, threads: int | None
) -> "OnnxStreamSession":
    """A streaming core with one row. Raises BackendError where it cannot be loaded."""
    return OnnxStreamSession(_OPENERS[backend](bundle, entry, threads))


class OnnxStreamSession:
    """A streaming core and two sets of states: each call reads one and writes the other.

    What each call reads and writes is bound once for a batch size, so that a call allocates
    nothing here and the states never leave the device.
    """

    def __init__(self, opened: OnnxSession) -> None:
        entry = opened.entry
        assert entry.streaming is not None
        self.backend, self.device = opened.backend, opened.device
        self._session = opened.session
        self._entry: FileEntry = entry
        self._info: StreamingInfo = entry.streaming
        self._now = 0  # which set of states the next call reads
        self._bind(1)
        self.reset()

    def run(self, inputs: Float32Array, ends: Float32Array) -> Float32Array:
        for host, value, given in (
            (self.inputs, self._input_value, inputs),
            (self.ends, self._end_value, ends),
        ):
            if given is not host:
                np.copyto(host, given)
            if self.device != "cpu":  # on a CPU the value is the host's memory
                value.update_inplace(host)
        try:
            self._session.run_with_iobinding(self._bindings[self._now])
        except Exception as error:  # ONNX Runtime's own exceptions share no other base
            raise BackendError(
                f"{self._entry.path}: {self.backend} failed: {error}; call reset() to go on"
            ) from error
        self._now = 1 - self._now
        return self._output

    def reset(self, rows: Sequence[int] | None = None) -> None:
        states = self.states()
        for state, initial in zip(states, self.initial_states(), strict=True):
            state[slice(None) if rows is None else list(rows)] = initial
        self.load(states, len(self.inputs))

    def states(self) -> list[Float32Array]:
        return [value.numpy().copy() for value in self._states[self._now]]

    def load(self, states: Sequence[Float32Array], batch: int) -> None:
        if batch != len(self.inputs):
            self._bind(batch)
        for value, state in zip(self._states[self._now], states, strict=True):
            value.update_inplace(np.ascontiguousarray(state))

    def initial_states(self) -> list[Float32Array]:
        return [np.full(_shape(spec, 1), spec.initial, np.float32) for spec in self._info.states]

    def _bind(self, batch: int) -> None:
        """Make buffers for so many rows, and bind both directions of the two sets of states."""
        row = self._entry.inputs[0].shape[1:]
        self.inputs = np.zeros((batch, *map(int, row)), np.float32)
        self.ends = np.zeros(batch, np.float32)
        self._output = np.zeros_like(self.inputs)
        self._input_value = self._value(self.inputs)
        self._end_value = self._value(self.ends)
        output = self._value(self._output, "cpu")
        self._states = [
            [self._value(np.zeros(_shape(spec, batch), np.float32)) for spec in self._info.states]
            for _ in range(2)
        ]
        self._bindings = [
            self._binding(output, self._states[first], self._states[1 - first])
            for first in range(2)
        ]
        self._now = 0

    def _binding(
        self,
        output: "onnxruntime.OrtValue",
        before: "Sequence[onnxruntime.OrtValue]",
        after: "Sequence[onnxruntime.OrtValue]",
    ) -> "onnxruntime.IOBinding":
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._entry.inputs[0].name, self._input_value)
        binding.bind_ortvalue_output(self._entry.outputs[0].name, output)
        if self._info.end is not None:
            binding.bind_ortvalue_input(self._info.end, self._end_value)
        for spec, old, new in zip(self._info.states, before, after, strict=True):
            binding.bind_ortvalue_input(spec.name, old)
            binding.bind_ortvalue_output(spec.next, new)
        return binding

    def _value(self, array: Float32Array, device: str | None = None) -> "onnxruntime.OrtValue":
        """A tensor on the session's device; on a CPU it is the array's own memory."""
        from onnxruntime import OrtValue

        return OrtValue.ortvalue_from_numpy(array, device or self.device, 0)


def _shape(spec: StateSpec, batch: int) -> tuple[int, ...]:
    return (batch, *map(int, spec.shape[1:]))
