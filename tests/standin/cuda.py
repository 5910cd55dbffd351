"""Stands for cuda-core and NVIDIA's driver, on a `SimulatedGpu`.

What goes into a stream happens when the stream is synchronised, not before; its time is that of a
simulated clock. Only what the runtime uses is here, with the real signatures; `test_signatures.py`
compares them.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.standin.gpu import Allocation, Operation, SimulatedGpu, require_exclusive

_handles = itertools.count(1)


class Handle:
    """A driver's handle: an object that `int()` gives the address of."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __int__(self) -> int:
        return self._value


class Buffer:
    _gpu: SimulatedGpu

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Buffer objects cannot be instantiated directly.")

    @classmethod
    def _of(cls, address: int, size: int, owned: Allocation | None, stream: Any) -> Buffer:
        made = object.__new__(cls)
        made._address, made._size, made._allocation, made._stream = address, size, owned, stream
        return made

    @staticmethod
    def from_handle(ptr: int, size: int, mr: Any = None, owner: Any = None) -> Buffer:
        raise NotImplementedError  # `make_cuda` puts one with the GPU in its place

    @property
    def handle(self) -> int:
        return self._address

    @property
    def size(self) -> int:
        return self._size

    def copy_from(self, src: Buffer, *, stream: Stream) -> None:
        if src._size != self._size:
            raise ValueError(f"buffer sizes mismatch (src={src._size}, dst={self._size})")
        gpu, size, source, target = self._gpu, self._size, src._address, self._address
        gpu.bytes_at(source, size, "copy", None)  # the driver looks at the pointers at once
        gpu.bytes_at(target, size, "copy", None)
        gpu.host_ms += gpu.call_ms
        ms = gpu.upload_ms if gpu.is_on_device(target) else gpu.download_ms

        def copy() -> None:
            gpu.bytes_at(target, size, "copy", None)[:] = gpu.bytes_at(source, size, "copy", None)

        stream._put(Operation(copy, ((source, size, "a copy"), (target, size, "a copy")), ms=ms))

    def __del__(self) -> None:
        if getattr(self, "_allocation", None) is None:
            return
        free = Operation(lambda a=self._allocation: self._gpu.free(a))
        if self._stream is not None and self._stream._pending:
            self._stream._pending.append(free)  # the device's memory is freed in stream order
        else:
            free.run()


class LegacyPinnedMemoryResource:
    _gpu: SimulatedGpu
    _buffer: type[Buffer]

    def allocate(self, size: int, *, stream: Stream | None = None) -> Buffer:
        self._gpu.require_current("cuMemAllocHost")
        made = self._gpu.allocate(size, on_device=False)
        return self._buffer._of(made.address, size, made, None)


@dataclass
class EventOptions:
    timing_enabled: bool | None = False
    blocking_sync: bool | None = False
    ipc_enabled: bool | None = False


class Event:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Event objects cannot be instantiated directly.")

    @classmethod
    def _of(cls, options: EventOptions | None) -> Event:
        made = object.__new__(cls)
        made._timed = bool(options and options.timing_enabled)
        made._records = 0  # how often it was recorded; the last time counts
        made._ms: float | None = None  # None until the stream has come to it
        return made

    def __sub__(self, other: Event) -> float:
        """The milliseconds from `other` to this, with the errors of cuda-core."""
        if not (self._timed and other._timed):
            raise RuntimeError("Both Events must be created with timing enabled")
        if not (self._records and other._records):
            raise RuntimeError("Both Events must be recorded before they can be subtracted")
        if self._ms is None or other._ms is None:
            raise RuntimeError("One or both events have not completed")
        return self._ms - other._ms


class Stream:
    _gpu: SimulatedGpu

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Stream objects cannot be instantiated directly.")

    @classmethod
    def _new(cls, streams: dict[int, Stream]) -> Stream:
        made = object.__new__(cls)
        made._number = next(_handles) << 8
        made._pending: list[Operation] = []
        made._captured: list[Operation] | None = None
        made._thread = 0
        made._ms = 0.0  # when the last thing in it was done
        streams[made._number] = made
        return made

    @property
    def handle(self) -> Handle:
        return Handle(self._number)

    def sync(self) -> None:
        self._gpu.require_current("cuStreamSynchronize")
        if self._captured is not None:
            self._gpu.refuse("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: sync of a capturing stream")
        self._drain()
        self._thread = 0
        self._gpu.host_ms = max(self._gpu.host_ms, self._ms)

    def record(self, event: Event | None = None, options: EventOptions | None = None) -> Event:
        if self._captured is not None:
            self._gpu.refuse("an event in a capture: it never has a time")
        event = Event._of(options) if event is None else event
        event._records, event._ms = event._records + 1, None
        number = event._records

        def pass_by() -> None:
            if event._records == number:
                event._ms = self._ms

        self._gpu.host_ms += self._gpu.call_ms
        self._put(Operation(pass_by))
        return event

    def _drain(self) -> None:
        while self._pending:
            operation = self._pending.pop(0)
            self._ms = max(self._ms, operation.enqueued_ms) + operation.ms
            operation.run()
            operation.done()
            with self._gpu.lock:
                left = [used for waiting in self._pending for used in waiting.uses]
                self._gpu.in_flight[self._number] = left

    def create_graph_builder(self) -> GraphBuilder:
        return GraphBuilder._on(self)

    def _put(self, operation: Operation) -> None:
        self._gpu.require_current("a stream")
        if self._captured is not None:
            self._captured.append(operation)
            return
        mine = threading.get_ident()
        if self._thread not in (0, mine):
            self._gpu.refuse("two threads use one stream at once")
        self._thread = mine
        require_exclusive(self._gpu, self._number, operation.uses)
        self._gpu.in_flight.setdefault(self._number, []).extend(operation.uses)
        self._pending.append(replace(operation, enqueued_ms=self._gpu.host_ms))


class GraphBuilder:
    def __init__(self) -> None:
        raise NotImplementedError("directly creating a Graph object can be ambiguous")

    @classmethod
    def _on(cls, stream: Stream) -> GraphBuilder:
        made = object.__new__(cls)
        made._stream, made._operations = stream, None
        return made

    def begin_building(self, mode: str | None = "relaxed") -> GraphBuilder:
        if mode not in ("global", "thread_local", "relaxed"):
            raise ValueError(f"Unsupported build mode: {mode}")
        gpu = self._stream._gpu
        if self._stream._pending:
            gpu.refuse("a capture begins while the stream still has work")
        if self._stream._captured is not None or self._operations is not None:
            raise RuntimeError("Graph builder is already building.")
        self._stream._captured = []
        return self

    def end_building(self) -> GraphBuilder:
        if self._stream._captured is None:
            raise RuntimeError("Graph builder is not building.")
        self._operations, self._stream._captured = self._stream._captured, None
        if self._stream._gpu.capture_fails:
            raise RuntimeError("Build process encountered an error and has been invalidated.")
        return self

    def complete(self) -> Graph:
        if self._operations is None:
            raise RuntimeError("Graph has not finished building.")
        return Graph._of(self._operations, self._stream._gpu)

    def close(self) -> None:
        self._stream._captured = None


class Graph:
    def __init__(self) -> None:
        raise RuntimeError("directly constructing a Graph instance is not supported")

    @classmethod
    def _of(cls, operations: list[Operation], gpu: SimulatedGpu) -> Graph:
        made = object.__new__(cls)
        made._operations, made._gpu = operations, gpu
        return made

    def launch(self, stream: Stream) -> None:
        self._gpu.graph_launches += 1
        self._gpu.host_ms += self._gpu.launch_ms
        for operation in self._operations:
            stream._put(operation)


class Device:
    _gpu: SimulatedGpu
    _streams: dict[int, Stream]
    _classes: SimpleNamespace

    def __init__(self, device_id: int | None = None) -> None:
        if device_id not in (None, 0):
            raise ValueError(f"device_id must be within [0, 1), got {device_id}")

    def set_current(self, ctx: None = None) -> None:
        self._gpu.make_current()

    @property
    def name(self) -> str:
        return self._gpu.name

    @property
    def compute_capability(self) -> tuple[int, int]:
        return self._gpu.capability

    def create_stream(self, obj: None = None) -> Stream:
        self._gpu.require_current("create_stream")
        return self._classes.Stream._new(self._streams)

    def create_event(self, options: EventOptions | None = None) -> Event:
        self._gpu.require_current("create_event")
        return Event._of(options)

    def allocate(self, size: int, *, stream: Stream) -> Buffer:
        self._gpu.require_current("allocate")
        if not isinstance(stream, Stream):
            raise TypeError(f"stream must be a Stream, got {type(stream).__name__}")
        made = self._gpu.allocate(size, on_device=True)
        return self._classes.Buffer._of(made.address, size, made, stream)


def make_cuda(gpu: SimulatedGpu) -> tuple[ModuleType, dict[int, Stream]]:
    """A module that stands for `cuda.core`, and the streams by their handles."""
    core, streams = ModuleType("cuda.core"), {}
    buffer = type("Buffer", (Buffer,), {"_gpu": gpu})

    def from_handle(ptr: int, size: int, mr: Any = None, owner: Any = None) -> Buffer:
        made = buffer._of(int(ptr), size, None, None)
        made._owner = owner
        return made

    buffer.from_handle = staticmethod(from_handle)
    classes = SimpleNamespace(Buffer=buffer, Stream=type("Stream", (Stream,), {"_gpu": gpu}))
    core.Buffer, core.Stream = classes.Buffer, classes.Stream
    core.Event, core.EventOptions = Event, EventOptions
    core.Device = type("Device", (Device,), {"_gpu": gpu, "_streams": streams, "_classes": classes})
    core.LegacyPinnedMemoryResource = type(
        "LegacyPinnedMemoryResource",
        (LegacyPinnedMemoryResource,),
        {"_gpu": gpu, "_buffer": buffer},
    )
    return core, streams


class Driver:
    """The functions of NVIDIA's driver that the facts of a GPU come from, as ctypes calls them.

    `failing` gives some of them a return code; its name is CUDA_ERROR_NO_DEVICE.
    """

    def __init__(self, gpu: SimulatedGpu) -> None:
        self._gpu = gpu
        self.count = 1
        self.failing: dict[str, int] = {}

    def __getattribute__(self, name: str) -> Any:
        failing = object.__getattribute__(self, "__dict__").get("failing", {})
        if name in failing:
            return lambda *arguments: failing[name]
        return object.__getattribute__(self, name)

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self._gpu.driver_cuda
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self._gpu.name.encode()
        return 0

    def cuDeviceGetUuid_v2(self, uuid: Any, device: Any) -> int:  # noqa: N802
        uuid.raw = bytes(range(16))
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:  # noqa: N802
        size._obj.value = self._gpu.total_memory
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        if not self._gpu.is_current:
            return 201  # CUDA_ERROR_INVALID_CONTEXT
        total._obj.value = self._gpu.total_memory
        free._obj.value = self._gpu.total_memory - self._gpu.used(on_device=True)
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = self._gpu.capability[{75: 0, 76: 1}[attribute]]
        return 0

    def cuGetErrorName(self, code: int, name: Any) -> int:  # noqa: N802
        name._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0
