"""The thin layer over CUDA: the GPU's facts, memory on both sides, copies and captured graphs.

Through cuda-core, and cuda-bindings for the few facts that it lacks; neither is imported before it
is needed. A thread that calls anything here makes the GPU its own first: `use_gpu()`.
"""

import ctypes
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import BackendError, FrcrnExportError

if TYPE_CHECKING:
    from cuda.core import Buffer, Device, Stream
    from cuda.core.graph import Graph

Shape = tuple[int, ...]

_FLOAT_BYTES = 4
_REASON_CHARACTERS = 300


class GpuMemoryError(BackendError):
    """The GPU's memory is full."""


@dataclass(frozen=True)
class Gpu:
    """The GPU in use. `sm` is its compute capability without the dot; memory in bytes.

    `cuda` is the newest version of CUDA that the driver serves, as (major, minor).
    """

    name: str
    sm: int
    cuda: tuple[int, int]
    free_memory: int
    total_memory: int


def use_gpu() -> "Device":
    """Make the first GPU current in this thread. Raises BackendError where there is none."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise _not_installed(error) from error
    try:
        _checked(driver.cuInit(0))
    except Exception as error:  # what is missing decides which of several types comes
        raise BackendError(
            f"no NVIDIA driver, or no GPU that it can use ({_first_line(error)}); "
            "run: frcrn-export doctor"
        ) from error
    try:
        from cuda.core import Device  # after the driver: it takes half a second
    except ImportError as error:
        raise _not_installed(error) from error
    with cuda_errors("the first GPU"):
        device = Device(0)
        device.set_current()
    return device


def first_gpu() -> Gpu:
    """The facts of the first GPU. Raises BackendError where there is none."""
    device = use_gpu()
    from cuda.bindings import driver

    with cuda_errors("CUDA driver"):
        major, minor = device.compute_capability
        version: int = _checked(driver.cuDriverGetVersion())
        free, total = _checked(driver.cuMemGetInfo())
        return Gpu(
            device.name, 10 * major + minor, (version // 1000, version % 1000 // 10), free, total
        )


@dataclass(frozen=True)
class TensorView:
    """One tensor of one shape in a `TensorMemory`: `host` is what NumPy reads and writes."""

    host: Float32Array
    host_part: "Buffer"
    device_part: "Buffer"

    @property
    def address(self) -> int:
        """Where the tensor lies on the GPU."""
        return int(self.device_part.handle)

    def upload(self, stream: "Stream") -> None:
        """Copy to the GPU, in the stream's order. `host` must stay as it is until then."""
        self.device_part.copy_from(self.host_part, stream=stream)

    def download(self, stream: "Stream") -> None:
        """Copy from the GPU, in the stream's order. `host` holds it after the next `sync`."""
        self.host_part.copy_from(self.device_part, stream=stream)


class TensorMemory:
    """Memory for one float32 tensor of at most `largest` shape: on the GPU, and pinned beside it.

    Copies from pinned memory need no copy in between and do not hold up the host.
    """

    def __init__(self, device: "Device", largest: Shape, stream: "Stream") -> None:
        from cuda.core import LegacyPinnedMemoryResource

        size = _bytes(largest)
        self._host = LegacyPinnedMemoryResource().allocate(size)
        self._device = device.allocate(size, stream=stream)

    def view(self, shape: Shape) -> TensorView:
        """The tensor at another shape, at the same addresses."""
        size = _bytes(shape)
        values = (ctypes.c_float * (size // _FLOAT_BYTES)).from_address(int(self._host.handle))
        host: Float32Array = np.ctypeslib.as_array(values).reshape(shape)
        return TensorView(host, _part(self._host, size), _part(self._device, size))


def capture(stream: "Stream", enqueue: Callable[[], None]) -> "Graph":
    """What `enqueue` puts into the stream as a graph; nothing of it runs yet."""
    builder = stream.create_graph_builder()
    try:
        # Other threads may go on allocating memory.
        builder.begin_building("thread_local")
        enqueue()
        return builder.end_building().complete()
    finally:
        with suppress(Exception):  # a failed capture cannot be closed, and has raised already
            builder.close()


@contextmanager
def cuda_errors(subject: str) -> Iterator[None]:
    """Turn CUDA's exceptions into BackendError, or GpuMemoryError where the memory is full."""
    try:
        yield
    except FrcrnExportError:
        raise
    except Exception as error:  # cuda-core's own exceptions have no public name
        reason = _first_line(error)
        kind = GpuMemoryError if "OUT_OF_MEMORY" in reason else BackendError
        raise kind(f"{subject}: CUDA failed: {reason}") from error


def _not_installed(error: ImportError) -> BackendError:
    return BackendError(
        f"cuda-core is not installed ({error}); run: pip install cuda-core cuda-bindings"
    )


def _bytes(shape: Shape) -> int:
    return math.prod(shape) * _FLOAT_BYTES


def _part(buffer: "Buffer", size: int) -> "Buffer":
    """The first bytes of a buffer, which they keep alive."""
    from cuda.core import Buffer

    return Buffer.from_handle(int(buffer.handle), size, owner=buffer)


def _checked(result: tuple[Any, ...]) -> Any:
    """The values of a cuda-bindings call. Raises RuntimeError for any code but success."""
    code, *values = result
    if int(code) != 0:
        raise RuntimeError(code.name)
    return values[0] if len(values) == 1 else values


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:_REASON_CHARACTERS] if lines else type(error).__name__
