"""The GPU in this machine, through the CUDA driver, and the backend that fits it."""

from typing import Any, cast

from frcrn_export.engines.targets import Target, check_served, known_gpu
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import (
    TENSORRT_BACKENDS,
    is_tensorrt_installed,
    sm_text,
)

_NAME_BYTES = 256


class _NoDriverError(Exception):
    """Why the CUDA driver could not be asked."""


def detect_gpu() -> Target:
    """The first GPU that CUDA shows. Raises UserError where there is none, or no driver."""
    try:
        return _ask_driver()
    except _NoDriverError as error:
        raise UserError(
            f"no GPU to detect ({error}); name the one to build for, as in --gpu rtx4090d"
        ) from error


def present_gpu() -> Target | None:
    """The first GPU that CUDA shows, or None."""
    try:
        return _ask_driver()
    except _NoDriverError:
        return None


def driver_cuda() -> int | None:
    """The major version of CUDA that the driver here serves, or None without a driver."""
    try:
        version: int = _call(_driver().cuDriverGetVersion)
    except _NoDriverError:
        return None
    return version // 1000


def resolve_backend(choice: str, target: Target, *, here: bool = True) -> TensorrtBackend:
    """The backend to build with. `choice` is a backend's name or `auto`.

    `auto` takes classic TensorRT where it is installed and a GPU with the target's SM is present
    (it tunes on that GPU), else TensorRT-RTX where that serves the target. With `here` False, for
    a build elsewhere, classic TensorRT is what is left. Raises UserError.
    """
    if choice in TENSORRT_BACKENDS:
        backend = cast(TensorrtBackend, choice)
        check_served(backend, target)
        return backend
    if choice != "auto":
        raise UserError(f"unknown backend {choice!r}; one of: auto, {', '.join(TENSORRT_BACKENDS)}")
    if "tensorrt" in target.backends and is_tensorrt_installed("tensorrt"):
        gpu = present_gpu()
        if gpu is not None and gpu.sm == target.sm:
            return "tensorrt"
    if "tensorrt-rtx" in target.backends:
        return "tensorrt-rtx"
    if not here and "tensorrt" in target.backends:
        return "tensorrt"
    raise UserError(
        f"{target.title} (SM {sm_text(target.sm)}) needs classic TensorRT, which builds on a "
        f"machine with that GPU: run this there, after: pip install "
        f'"frcrn-export[{TENSORRT_BACKENDS["tensorrt"].extra}]"'
    )


def _driver() -> Any:
    """The driver API, initialised. Raises _NoDriverError."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise _NoDriverError("cuda-bindings is not installed") from error
    try:
        _call(driver.cuInit, 0)
    except (RuntimeError, OSError) as error:  # no libcuda, or one that is too old
        raise _NoDriverError("no NVIDIA driver") from error
    return driver


def _ask_driver() -> Target:
    driver = _driver()
    if _call(driver.cuDeviceGetCount) == 0:
        raise _NoDriverError("the NVIDIA driver shows no GPU")
    device = _call(driver.cuDeviceGet, 0)
    attribute = driver.CUdevice_attribute
    major = _call(
        driver.cuDeviceGetAttribute,
        attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        device,
    )
    minor = _call(
        driver.cuDeviceGetAttribute,
        attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        device,
    )
    title = _call(driver.cuDeviceGetName, _NAME_BYTES, device).rstrip(b"\0").decode()
    memory_gb = round(_call(driver.cuDeviceTotalMem, device) / 2**30)
    return _describe(title, 10 * major + minor, memory_gb)


def _describe(title: str, sm: int, memory_gb: int) -> Target:
    """The registered GPU, or one that `find_target` finds again under its SM."""
    known = known_gpu(title)
    if known is not None and known.sm == sm:
        return known
    return Target(f"sm{sm}", title, sm, memory_gb)


def _call(function: Any, *arguments: Any) -> Any:
    """One call of the driver; its result without the return code. Raises _NoDriverError."""
    code, *results = function(*arguments)
    if code.value != 0:
        raise _NoDriverError(f"{function.__name__} returned {code.name}")
    return results[0] if results else None
