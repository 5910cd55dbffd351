"""The GPU in this machine, through the CUDA driver, and the backend that fits it."""

from typing import cast

from frcrn_export.engines.targets import Target, check_served, known_gpu
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.gpu import Gpu, first_gpu
from frcrn_export.runtime.sessions.tensorrt_backends import (
    TENSORRT_BACKENDS,
    is_tensorrt_installed,
    sm_text,
)


def detect_gpu() -> Target:
    """The first GPU that CUDA shows. Raises UserError where there is none, or no driver."""
    try:
        return _target(first_gpu())
    except BackendError as error:
        raise UserError(
            f"no GPU to detect: {error}; or name the one to build for, as in --gpu rtx4090d"
        ) from error


def present_gpu() -> Target | None:
    """The first GPU that CUDA shows, or None."""
    try:
        return _target(first_gpu())
    except BackendError:
        return None


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


def _target(gpu: Gpu) -> Target:
    """The registered GPU, or one that `find_target` finds again under its SM."""
    known = known_gpu(gpu.name)
    if known is not None and known.sm == gpu.sm:
        return known
    return Target(f"sm{gpu.sm}", gpu.name, gpu.sm, round(gpu.total_memory / 2**30))
