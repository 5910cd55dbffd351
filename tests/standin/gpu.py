"""A GPU that is not there: its facts, its memory, and who may do what when.

Every misuse that a real GPU would answer with wrong numbers, a crash or nothing at all is an error
here, and is kept in `misuse`, so that no `except` on the way can hide it.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_FREED = 0xDD
_ALIGNMENT = 256

# What a CUDA call raises; cuda-core's own type has no public name.
CudaError = type("CUDAError", (Exception,), {})


@dataclass
class Allocation:
    """A piece of memory, `bytes` long from `address` on; freed ones are kept to be recognised."""

    memory: np.ndarray
    address: int
    bytes: int
    on_device: bool
    live: bool = True


@dataclass
class SimulatedGpu:
    """The facts that code can ask for, what it did, and faults that tests put in."""

    name: str = "NVIDIA GeForce RTX 4090 D"
    capability: tuple[int, int] = (8, 9)
    driver_cuda: int = 13020
    total_memory: int = 1 << 30

    # What things take, in ms: on the GPU, and of the host's time for each call that enqueues them.
    upload_ms: float = 1.0
    compute_ms: float = 5.0
    download_ms: float = 2.0
    call_ms: float = 0.0  # a copy, or an event
    enqueue_ms: float = 0.0  # a network
    launch_ms: float = 0.0  # a graph

    execution_fails: str = ""  # TensorRT's reason
    capture_fails: bool = False

    misuse: list[str] = field(default_factory=list)
    graph_launches: int = 0
    executions: int = 0  # of networks, by a graph or without
    compiled: list[tuple[int, ...]] = field(default_factory=list)  # shapes, by TensorRT-RTX
    contexts: int = 0  # execution contexts made so far
    host_ms: float = 0.0  # the host's clock: goes on with its calls, and while it waits for the GPU

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self._allocations: list[Allocation] = []
        self._addresses: list[int] = []
        self._threads: set[int] = set()
        # Memory on the device that the next free operation may not touch, by stream.
        self.in_flight: dict[int, list[tuple[int, int, str]]] = {}

    @property
    def sm(self) -> int:
        return 10 * self.capability[0] + self.capability[1]

    def used(self, on_device: bool) -> int:
        """Bytes allocated now."""
        with self.lock:
            return sum(a.bytes for a in self._allocations if a.live and a.on_device == on_device)

    def refuse(self, what: str) -> None:
        """Record a misuse and raise it."""
        self.misuse.append(what)
        raise CudaError(f"CUDA_ERROR_ILLEGAL_STATE: {what}")

    def make_current(self) -> None:
        self._threads.add(threading.get_ident())

    @property
    def is_current(self) -> bool:
        """Whether this thread has a CUDA context."""
        return threading.get_ident() in self._threads

    def require_current(self, call: str) -> None:
        """A thread that never called `Device.set_current` has no CUDA context."""
        if not self.is_current:
            self.refuse(f"{call}: CUDA_ERROR_INVALID_CONTEXT, no current device in this thread")

    def has_room(self, size: int) -> bool:
        return self.used(on_device=True) + size <= self.total_memory

    def allocate(self, size: int, on_device: bool) -> Allocation:
        """Memory full of NaN, at an address of its own."""
        if on_device and not self.has_room(size):
            raise CudaError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed because it was unable")
        with self.lock:
            memory = np.full(size + _ALIGNMENT, 0xFF, np.uint8)
            start = -memory.ctypes.data % _ALIGNMENT
            made = Allocation(memory[start:], memory.ctypes.data + start, size, on_device)
            place = bisect_right(self._addresses, made.address)
            self._addresses.insert(place, made.address)
            self._allocations.insert(place, made)
        return made

    def free(self, allocation: Allocation) -> None:
        with self.lock:
            if not allocation.live:
                self.refuse("memory freed twice")
            for ranges in self.in_flight.values():
                for address, size, what in ranges:
                    if _overlap((address, size), (allocation.address, allocation.bytes)):
                        self.refuse(f"memory freed while {what} uses it")
            allocation.live = False
            allocation.memory[:] = _FREED

    def is_on_device(self, address: int) -> bool:
        with self.lock:
            return self._allocations[bisect_right(self._addresses, address) - 1].on_device

    def bytes_at(self, address: int, size: int, what: str, on_device: bool | None) -> np.ndarray:
        """The bytes of a range, which has to lie in one living allocation of the right kind."""
        with self.lock:
            place = bisect_right(self._addresses, address) - 1
            found = self._allocations[place] if place >= 0 else None
            if found is None or address + size > found.address + found.bytes:
                self.refuse(f"{what}: {size} bytes at {address:#x} are not allocated")
            if not found.live:
                self.refuse(f"{what}: use after free")
            if on_device is not None and found.on_device != on_device:
                self.refuse(f"{what}: memory on the wrong side")
            start = address - found.address
            return found.memory[start : start + size]


@dataclass(frozen=True)
class Operation:
    """One thing in a stream: what it does, and the device memory that it uses until it is done.

    It takes `ms` of the GPU's time, and begins when the host has enqueued it and all before it in
    the stream is done.
    """

    run: Callable[[], None]
    uses: tuple[tuple[int, int, str], ...] = ()
    done: Callable[[], None] = lambda: None
    ms: float = 0.0
    enqueued_ms: float = 0.0  # by the host's clock


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[0] + other[1] and other[0] < one[0] + one[1]


def require_exclusive(
    gpu: SimulatedGpu, stream: int, uses: tuple[tuple[int, int, str], ...]
) -> None:
    """Two streams run side by side, so they may not use the same memory."""
    with gpu.lock:
        for other, ranges in gpu.in_flight.items():
            for address, size, what in ranges if other != stream else ():
                for mine in uses:
                    if _overlap((address, size), mine[:2]):
                        gpu.refuse(f"{mine[2]} uses memory that {what} of another stream uses")
