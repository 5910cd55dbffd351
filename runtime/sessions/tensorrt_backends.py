"""The backends that run TensorRT engines: their packages, and how to install them."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import cast

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import BackendError


@dataclass(frozen=True)
class TensorrtPackage:
    """One backend. `module` is what Python imports, `extra` the extra that installs it."""

    name: TensorrtBackend
    module: str
    extra: str


TENSORRT_BACKENDS = MappingProxyType(
    {
        "tensorrt": TensorrtPackage("tensorrt", "tensorrt", "trt"),
        "tensorrt-rtx": TensorrtPackage("tensorrt-rtx", "tensorrt_rtx", "rtx"),
    }
)

# The compute capabilities that each backend serves, without their dot (89 is 8.9).
SERVED_SMS: Mapping[TensorrtBackend, tuple[int, ...]] = MappingProxyType(
    {
        "tensorrt": (75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121),
        "tensorrt-rtx": (75, 80, 86, 89, 120, 121),
    }
)


def sm_text(sm: int) -> str:
    """A compute capability as text: 89 -> "8.9"."""
    return f"{sm // 10}.{sm % 10}"


def sms_text(sms: tuple[int, ...]) -> str:
    """Several of them: (86, 89) -> "8.6, 8.9"."""
    return ", ".join(map(sm_text, sms))


def load_tensorrt(backend: TensorrtBackend) -> ModuleType:
    """The Python module of a backend. Raises BackendError with the line that installs it."""
    spec = TENSORRT_BACKENDS[backend]
    try:
        return import_module(spec.module)
    except (ImportError, OSError) as error:  # OSError: the libraries lie elsewhere or are missing
        raise BackendError(
            f'{backend} is not installed ({error}); run: pip install "frcrn-export[{spec.extra}]"'
        ) from error


def is_tensorrt_installed(backend: TensorrtBackend) -> bool:
    """Whether a backend's module can be imported here."""
    try:
        load_tensorrt(backend)
    except BackendError:
        return False
    return True


def version_of(backend: TensorrtBackend) -> str:
    """The installed version of a backend; engines run with the version that built them."""
    return cast(str, load_tensorrt(backend).__version__)
