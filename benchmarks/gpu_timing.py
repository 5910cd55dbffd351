"""Timing one contender at one shape: repeated calls, their percentiles, the memory they take."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from benchmarks.gpu_workload import Float32Array

# An idle GPU needs this long to raise its clocks. The second call of a shape captures it in an
# engine's session; the third replays it.
WARM_UP_SECONDS = 0.5
_FEWEST_WARM_UP_CALLS = 3
# A measurement ends after this long, with fewer calls than asked for but never fewer than these.
CASE_SECONDS = 3.0
_FEWEST_CALLS = 5


@dataclass(frozen=True)
class Parts:
    """A call's parts by CUDA events, in ms: host to device, compute, device to host."""

    h2d: float
    compute: float
    d2h: float


# One call: from an array in ordinary memory to an array in ordinary memory, finished on return.
# Without parts where the call cannot be split, or there is no device.
Runner = Callable[[Float32Array], tuple[Float32Array, Parts | None]]


@dataclass(frozen=True)
class Timings:
    """All measured calls, in ms by the host's clock, their parts, and the last output."""

    calls: list[float]
    parts: list[Parts]
    output: Float32Array


def time_calls(run: Runner, inputs: Float32Array, repeats: int) -> Timings:
    """Warm up, then call `repeats` times or for `CASE_SECONDS`."""
    begun, warm_up_calls = time.perf_counter(), 0
    while warm_up_calls < _FEWEST_WARM_UP_CALLS or time.perf_counter() < begun + WARM_UP_SECONDS:
        output, _ = run(inputs)
        warm_up_calls += 1
    calls: list[float] = []
    parts: list[Parts] = []
    deadline = time.perf_counter() + CASE_SECONDS
    while len(calls) < repeats and (len(calls) < _FEWEST_CALLS or time.perf_counter() < deadline):
        started = time.perf_counter()
        output, split = run(inputs)
        calls.append((time.perf_counter() - started) * 1e3)
        if split is not None:
            parts.append(split)
    return Timings(calls, parts, output)


def statistics(values: list[float]) -> dict[str, float]:
    """The fields of trtexec's report, in the unit of `values`; and the coefficient of variation."""
    mean = float(np.mean(values))
    p90, p95, p99 = (float(p) for p in np.percentile(values, (90, 95, 99)))
    return {
        "min": min(values),
        "max": max(values),
        "mean": mean,
        "median": float(np.median(values)),
        "p90": p90,
        "p95": p95,
        "p99": p99,
        "coefficient_of_variation": float(np.std(values)) / mean,
    }


MemoryKind = Literal["torch", "driver"]

MEMORY_KINDS: dict[MemoryKind, str] = {
    "torch": "torch.cuda.max_memory_allocated: the most that tensors took at once",
    "driver": "what the driver has less of since the contender was opened, with its libraries",
}


class DeviceMemory:
    """The GPU memory that a contender takes, from its opening on. None without a GPU."""

    def __init__(self, kind: MemoryKind, device: torch.device) -> None:
        self._kind = kind
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            release()
            self._free = torch.cuda.mem_get_info()[0]

    def start_case(self) -> None:
        """Forget the peak of the case before, where there is such a thing."""
        if self._on_gpu and self._kind == "torch":
            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int | None:
        """What the case has taken at most, in bytes."""
        if not self._on_gpu:
            return None
        if self._kind == "torch":
            return torch.cuda.max_memory_allocated()
        return self._free - torch.cuda.mem_get_info()[0]


def release() -> None:
    """Give back the GPU memory of what nobody refers to any more."""
    gc.collect()
    torch.cuda.empty_cache()
