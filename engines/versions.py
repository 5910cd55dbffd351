"""The supported releases of TensorRT, and their CUDA version.

TensorRT 10 and 11 share everything that the builder calls: strong typing has to be asked for in 10,
and the flag has no effect in 11. So this check suffices.
"""

import re
from importlib.metadata import distributions

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import driver_cuda
from frcrn_export.runtime.sessions.tensorrt_backends import TENSORRT_BACKENDS

# 10.3 is JetPack 6's, and has all that the session calls; older TensorRT-RTX was not tried.
OLDEST: dict[TensorrtBackend, tuple[int, int]] = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 7)}


def check_version(backend: TensorrtBackend, version: str) -> None:
    """Raise BackendError for a release older than the builder needs."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    oldest = OLDEST[backend]
    if tuple(numbers) < oldest:
        raise BackendError(
            f"{backend} {version} is too old, {oldest[0]}.{oldest[1]} is the oldest that works; "
            f'run: pip install --upgrade "frcrn-export[{TENSORRT_BACKENDS[backend].extra}]"'
        )


def cuda_major(backend: TensorrtBackend) -> int:
    """The major version of CUDA that the installed backend was made for.

    The names of its wheels have it (tensorrt_cu13, tensorrt_rtx_cu13). For other installations
    (JetPack, a tar file) it is the driver's. Raises BackendError if neither is known.
    """
    module = TENSORRT_BACKENDS[backend].module
    for distribution in distributions():
        name = str(distribution.metadata["Name"]).lower().replace("-", "_")
        if match := re.fullmatch(rf"{module}_cu(\d+)(?:_libs|_bindings)?", name):
            return int(match[1])
    if (driver := driver_cuda()) is not None:
        return driver
    raise BackendError(
        f"{backend}: cannot tell its CUDA version, neither by a wheel nor by a driver; "
        f'run: pip install "frcrn-export[{TENSORRT_BACKENDS[backend].extra}]"'
    )
