"""The two flavours of TensorRT: which package each is, and how to come by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import cast

from frcrn_export.runtime.bundle.manifest import Flavor
from frcrn_export.runtime.errors import BackendError


@dataclass(frozen=True)
class FlavorSpec:
    """One flavour. `module` is what Python imports, `extra` the extra that installs it."""

    name: Flavor
    module: str
    extra: str


FLAVORS = MappingProxyType(
    {
        "tensorrt": FlavorSpec("tensorrt", "tensorrt", "trt"),
        "tensorrt-rtx": FlavorSpec("tensorrt-rtx", "tensorrt_rtx", "rtx"),
    }
)

# The compute capabilities that each flavour serves, without their dot (89 is 8.9).
SERVED_SMS: Mapping[Flavor, tuple[int, ...]] = MappingProxyType(
    {
        "tensorrt": (75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121),
        "tensorrt-rtx": (75, 80, 86, 89, 120, 121),
    }
)


def sm_text(sm: int) -> str:
    """A compute capability as people write it: 89 -> "8.9"."""
    return f"{sm // 10}.{sm % 10}"


def load_flavor(flavor: Flavor) -> ModuleType:
    """The Python module of a flavour. Raises BackendError with the line that installs it."""
    spec = FLAVORS[flavor]
    try:
        return import_module(spec.module)
    except (ImportError, OSError) as error:  # OSError: the libraries lie elsewhere or are missing
        raise BackendError(
            f'{flavor} is not installed ({error}); run: pip install "frcrn-export[{spec.extra}]"'
        ) from error


def is_flavor_installed(flavor: Flavor) -> bool:
    """Whether a flavour's module can be imported here."""
    try:
        load_flavor(flavor)
    except BackendError:
        return False
    return True


def version_of(flavor: Flavor) -> str:
    """The installed version of a flavour, as its engines must be run with."""
    return cast(str, load_flavor(flavor).__version__)
