"""The thin layer over CUDA: the GPU's facts, memory on both sides, copies and captured graphs.

The facts come from the driver, the rest from cuda-core, which is imported on first use. A thread
calls `use_gpu()` before anything else here.
"""

import ctypes
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import BackendError, FrcrnExportError

if TYPE_CHECKING:
    from cuda.core import Buffer, Device, Stream
    from cuda.core.graph import Graph

Shape = tuple[int, ...]

_FLOAT_BYTES = 4
_REASON_CHARACTERS = 300
_NAME_BYTES = 256
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...


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
    total_memory: int


def first_gpu() -> Gpu:
    """The facts of the first GPU, from the driver alone. Raises BackendError without a GPU."""
    driver = _initialised()
    count, device, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    major, minor, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        raise BackendError("the NVIDIA driver shows no GPU; run: nvidia-smi")
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    _call(driver, "cuDeviceGetName", name, _NAME_BYTES, device)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(total), device)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    title = name.value.decode(errors="replace")
    return Gpu(title, 10 * major.value + minor.value, _driver_cuda(driver), total.value)


def gpu_uuid() -> str:
    """The name that nvidia-smi knows the first GPU by. Raises BackendError without a GPU."""
    driver = _initialised()
    device, found = ctypes.c_int(), ctypes.create_string_buffer(16)
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    _call(driver, "cuDeviceGetUuid_v2", found, device)
    return f"GPU-{UUID(bytes=found.raw)}"


def driver_cuda() -> int | None:
    """The major version of CUDA that the driver here serves, or None without a driver."""
    try:
        return _driver_cuda(_initialised())[0]
    except BackendError:
        return None


def use_gpu() -> "Device":
    """Make the first GPU current in this thread. Raises BackendError where there is none."""
    _initialised()
    try:
        from cuda.core import Device  # after the driver: it takes half a second
    except ImportError as error:
        raise BackendError(
            f"cuda-core is not installed ({error}); run: pip install cuda-core cuda-bindings"
        ) from error
    with cuda_errors("the first GPU"):
        device = Device(0)
        device.set_current()
    return device


def free_memory() -> int:
    """The bytes of GPU memory that nobody uses, as the driver has them.

    Makes the GPU current, which takes memory itself the first time. Raises BackendError.
    """
    use_gpu()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _call(load_driver(), "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value


def load_driver() -> Any:
    """NVIDIA's driver as a library. Raises OSError where there is none."""
    if sys.platform == "win32":
        return ctypes.WinDLL("nvcuda.dll")
    return ctypes.CDLL("libcuda.so.1")


def _initialised() -> Any:
    try:
        driver = load_driver()
    except OSError as error:
        raise _no_driver("its library is not found") from error
    try:
        _call(driver, "cuInit", 0)
    except BackendError as error:
        raise _no_driver(str(error)) from error
    return driver


def _no_driver(reason: str) -> BackendError:
    return BackendError(
        f"no NVIDIA driver, or no GPU that it can use ({reason}); run: frcrn-export doctor"
    )


def _driver_cuda(driver: Any) -> tuple[int, int]:
    version = ctypes.c_int()
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def _call(driver: Any, function: str, *arguments: Any) -> None:
    """One call of the driver. Raises BackendError for any code but success."""
    if code := getattr(driver, function)(*arguments):
        name = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        said = (name.value or str(code).encode()).decode()
        raise BackendError(f"CUDA driver: {function} failed: {said}")


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

    Copies from pinned memory need no intermediate copy and do not block the host.
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
    """Capture what `enqueue` puts into the stream as a graph; nothing runs yet."""
    builder = stream.create_graph_builder()
    try:
        # Other threads may allocate memory meanwhile.
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


def _bytes(shape: Shape) -> int:
    return math.prod(shape) * _FLOAT_BYTES


def _part(buffer: "Buffer", size: int) -> "Buffer":
    """The first bytes of a buffer; the view keeps the buffer alive."""
    from cuda.core import Buffer

    return Buffer.from_handle(int(buffer.handle), size, owner=buffer)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:_REASON_CHARACTERS] if lines else type(error).__name__
