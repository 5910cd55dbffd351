"""Streaming cores as TensorRT engines: states stay on the GPU, one CUDA graph a direction."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry, Profile, StateSpec
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import build_again
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import TensorMemory, cuda_errors, use_gpu
from frcrn_export.runtime.sessions.tensorrt_contexts import contexts_of
from frcrn_export.runtime.sessions.tensorrt_engine import Engine, load_engine
from frcrn_export.runtime.sessions.tensorrt_lane import BoundShape, Contexts, capture_shape
from frcrn_export.runtime.streaming.transforms import StateArray, initial_state

if TYPE_CHECKING:
    from cuda.core import Device, Stream

_WARM_UP_RUNS = 2
_ALIGNMENT = 64  # floats: 256 bytes, as cudaMalloc aligns


def open_engine(bundle: Bundle, entry: FileEntry, batch: int) -> "TensorRTStreamSession":
    """Open a streaming engine on the GPU it was built for, by the backend that built it.

    Raises BackendError where it cannot run here, or is for another number of streams at once.
    """
    assert entry.engine is not None
    if (rows := entry.engine.profile.max[0]) != batch:
        raise BackendError(
            f"{entry.path} is for {_streams(rows)} at once, not {batch}; run: "
            f"{build_again(bundle.path, entry, profile=_for_rows(entry.engine.profile, batch))}"
        )
    engine = load_engine(bundle, entry)
    with cuda_errors(entry.path):
        device = use_gpu()
        stream = device.create_stream()
        contexts = contexts_of(engine, device, stream)
        return TensorRTStreamSession(engine, device, stream, contexts)


def _for_rows(profile: Profile, batch: int) -> Profile:
    shape = (batch, *profile.max[1:])
    return Profile(min=shape, opt=shape, max=shape)


class TensorRTStreamSession:
    """A streaming engine and two sets of states: each call reads one and writes the other.

    Each of the two directions has an execution context, bound once to its addresses and captured
    with its copies as one CUDA graph (TensorRT-RTX captures itself).
    """

    device = "cuda"

    def __init__(
        self, engine: Engine, device: "Device", stream: "Stream", contexts: Contexts
    ) -> None:
        info = engine.entry.streaming
        assert info is not None
        self._engine, self._info, self.cuda_stream, self.contexts = engine, info, stream, contexts
        shape = engine.info.profile.max
        self._input, self._end, self._output = (
            TensorMemory(device, size, stream).view(size) for size in (shape, shape[:1], shape)
        )
        self._states = [StateMemory(device, info.states, shape[0], stream) for _ in range(2)]
        bound = [self._bind(now) for now in range(2)]
        for _ in range(_WARM_UP_RUNS):
            for direction in bound:
                direction.enqueue(stream)
                stream.sync()
        contexts.after_new_shape()
        self._directions = [capture_shape(direction, stream, contexts) for direction in bound]
        self._now = 0  # which set of states the next call reads
        self.reset()

    @property
    def backend(self) -> str:
        return self._engine.info.backend

    @property
    def entry(self) -> FileEntry:
        return self._engine.entry

    @property
    def bound(self) -> list[BoundShape]:
        """What a call runs without its graph: the direction of the next call, then the other."""
        first, second = (direction.bound for direction in self._directions)
        return [second, first] if self._now else [first, second]

    @property
    def inputs(self) -> Float32Array:
        return self._input.host

    @property
    def ends(self) -> Float32Array:
        return self._end.host

    def run(self, inputs: Float32Array, ends: Float32Array) -> Float32Array:
        for view, given in ((self._input, inputs), (self._end, ends)):
            if given is not view.host:
                np.copyto(view.host, given)
        with cuda_errors(self._engine.entry.path):
            use_gpu()
            try:
                self._directions[self._now].enqueue(self.cuda_stream)
            finally:  # no copy may be pending when the caller goes on
                self.cuda_stream.sync()
        self._now = 1 - self._now
        return self._output.host

    def reset(self, rows: Sequence[int] | None = None) -> None:
        with self.editing() as states:
            for state, spec in zip(states, self._info.states, strict=True):
                state[slice(None) if rows is None else list(rows)] = spec.initial

    def states(self) -> list[StateArray]:
        self._copy(upload=False)
        return [state.copy() for state in self._states[self._now].hosts]

    def load(self, states: Sequence[StateArray], batch: int) -> None:
        self.resize(batch)
        with self.editing() as own:
            for state, given in zip(own, states, strict=True):
                np.copyto(state, given)

    @contextmanager
    def editing(self) -> Iterator[list[StateArray]]:
        self._copy(upload=False)
        yield self._states[self._now].hosts
        self._copy(upload=True)

    def resize(self, batch: int) -> None:
        if batch != len(self.inputs):
            profile = _for_rows(self._engine.info.profile, batch)
            raise BackendError(
                f"{self._engine.entry.path} is for {_streams(len(self.inputs))} at once, not "
                f"{batch}; run: {self._engine.rebuild_for(profile)}"
            )

    def initial_states(self) -> list[StateArray]:
        return [initial_state(spec) for spec in self._info.states]

    def _copy(self, upload: bool) -> None:
        """Copy the states that the next call reads to the GPU, or back to the host."""
        block = self._states[self._now].block
        with cuda_errors(self._engine.entry.path):
            use_gpu()
            (block.upload if upload else block.download)(self.cuda_stream)
            self.cuda_stream.sync()

    def _bind(self, now: int) -> BoundShape:
        """A context that reads the states `now` and writes the others."""
        context = self.contexts.create()
        batch = len(self.inputs)
        entry = self._engine.entry
        before, after = self._states[now].addresses, self._states[1 - now].addresses
        addresses = {entry.inputs[0].name: self._input.address}
        addresses |= {entry.outputs[0].name: self._output.address}
        views = [self._input]
        if self._info.end is not None:
            addresses[self._info.end] = self._end.address
            views.append(self._end)
        for spec, old, new in zip(self._info.states, before, after, strict=True):
            addresses |= {spec.name: old, spec.next: new}
        for tensor in entry.call_inputs:
            shape = (batch, *map(int, tensor.shape[1:]))
            self._require(context.set_input_shape(tensor.name, shape))
        for name, address in addresses.items():
            self._require(context.set_tensor_address(name, address))
        return BoundShape(self._engine, context, tuple(views), self._output)

    def _require(self, done: bool) -> None:
        if not done:
            raise self._engine.failure("refused a shape or an address")


class StateMemory:
    """The states of a batch in one block of memory, so that one copy moves all of them.

    `hosts` are their arrays, `addresses` their addresses on the GPU.
    """

    def __init__(
        self, device: "Device", specs: Sequence[StateSpec], batch: int, stream: "Stream"
    ) -> None:
        shapes = [(batch, *spec.row_shape) for spec in specs]
        sizes = [math.prod(shape) for shape in shapes]
        starts = list(accumulate((-(-s // _ALIGNMENT) * _ALIGNMENT for s in sizes), initial=0))
        whole = (max(1, starts.pop()),)
        self.block = TensorMemory(device, whole, stream).view(whole)
        host = self.block.host
        host[:] = 0
        self.hosts = [
            host[start : start + size].reshape(shape)
            for start, size, shape in zip(starts, sizes, shapes, strict=True)
        ]
        self.addresses = [self.block.address + host.itemsize * start for start in starts]


def _streams(count: int) -> str:
    return f"{count} stream" + ("s" if count > 1 else "")
