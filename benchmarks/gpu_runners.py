"""Running a function of tensors: copied in, computed, copied out, with CUDA events between."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.gpu_timing import Parts
from benchmarks.gpu_workload import Float32Array

Function = Callable[[Tensor], Tensor]
# From the tensor that inputs are copied to, always the same one, to what computes its output.
Prepare = Callable[[Tensor], Callable[[], Tensor]]


def timing_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def new_stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def without_gradients(function: Function) -> Function:
    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        return function(x)

    return run


def eager(function: Function) -> Prepare:
    """Call the function as it is."""
    return lambda x: lambda: function(x)


def graphed(function: Function) -> Prepare:
    """Capture the function in a CUDA graph on the current stream, and replay that."""

    def prepare(x: Tensor) -> Callable[[], Tensor]:
        for _ in range(3):  # libraries choose their kernels and take their memory now
            function(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            y = function(x)

        def replay() -> Tensor:
            graph.replay()
            return y

        return replay

    return prepare


class HostRunner:
    """Without a device: nothing is copied to or from one."""

    def __init__(self, shape: tuple[int, ...], prepare: Prepare) -> None:
        self._x = torch.zeros(shape)
        self._compute = prepare(self._x)

    def __call__(self, inputs: Float32Array) -> tuple[Float32Array, None]:
        self._x.copy_(torch.from_numpy(inputs))
        return self._compute().detach().numpy().copy(), None


class DeviceRunner:
    """One call after another on one stream. The output has the shape of the input.

    With `pinned` the copies start from and end in page-locked memory, without it in ordinary one.
    """

    def __init__(
        self, shape: tuple[int, ...], prepare: Prepare, stream: torch.cuda.Stream, pinned: bool
    ) -> None:
        self._stream = stream
        self._host_in = torch.zeros(shape, pin_memory=pinned)
        self._host_out = torch.zeros(shape, pin_memory=pinned)
        self._events = [timing_event() for _ in range(4)]
        with torch.cuda.stream(stream):
            self._x = torch.zeros(shape, device="cuda")
            self._compute = prepare(self._x)

    def __call__(self, inputs: Float32Array) -> tuple[Float32Array, Parts]:
        start, uploaded, computed, downloaded = self._events
        self._host_in.copy_(torch.from_numpy(inputs))
        with torch.cuda.stream(self._stream):
            start.record()
            self._x.copy_(self._host_in, non_blocking=True)
            uploaded.record()
            y = self._compute()
            computed.record()
            self._host_out.copy_(y.detach(), non_blocking=True)
            downloaded.record()
        downloaded.synchronize()
        parts = Parts(
            start.elapsed_time(uploaded),
            uploaded.elapsed_time(computed),
            computed.elapsed_time(downloaded),
        )
        return self._host_out.numpy().copy(), parts


class _Slot:
    """The memory and events of one call in flight."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.host_in = torch.zeros(shape, pin_memory=True)
        self.host_out = torch.zeros(shape, pin_memory=True)
        self.x = torch.zeros(shape, device="cuda")
        self.upload = (timing_event(), timing_event())
        self.compute = (timing_event(), timing_event())
        self.download = (timing_event(), timing_event())


class OverlappedRunner:
    """Two calls in flight: one is copied in or out while the network works on the other.

    Copies in, network and copies out each have a stream. A call starts one frame and returns the
    output of the frame before, so its time is that between finished frames, not a frame's own.
    """

    def __init__(self, shape: tuple[int, ...], function: Function) -> None:
        self._function = function
        self._uploads, self._computes, self._downloads = (new_stream() for _ in range(3))
        self._slots = [_Slot(shape), _Slot(shape)]
        self._calls = 0
        torch.cuda.synchronize()  # the slots were filled on another stream

    def __call__(self, inputs: Float32Array) -> tuple[Float32Array, Parts]:
        this, before = self._slots[self._calls % 2], self._slots[(self._calls + 1) % 2]
        if self._calls == 0:
            self._start(before, inputs)
        self._start(this, inputs)
        self._calls += 1
        before.download[1].synchronize()
        parts = Parts(
            before.upload[0].elapsed_time(before.upload[1]),
            before.compute[0].elapsed_time(before.compute[1]),
            before.download[0].elapsed_time(before.download[1]),
        )
        return before.host_out.numpy().copy(), parts

    def _start(self, slot: _Slot, inputs: Float32Array) -> None:
        slot.host_in.copy_(torch.from_numpy(inputs))
        with torch.cuda.stream(self._uploads):
            slot.upload[0].record()
            slot.x.copy_(slot.host_in, non_blocking=True)
            slot.upload[1].record()
        with torch.cuda.stream(self._computes):
            self._computes.wait_event(slot.upload[1])
            slot.compute[0].record()
            y = self._function(slot.x)
            slot.compute[1].record()
        with torch.cuda.stream(self._downloads):
            self._downloads.wait_event(slot.compute[1])
            slot.download[0].record()
            slot.host_out.copy_(y, non_blocking=True)
            slot.download[1].record()
            y.record_stream(self._downloads)  # or its memory would be given away too early
