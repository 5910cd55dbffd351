"""The GPU in this machine, through the CUDA driver, and the backend that fits it."""

from typing import cast

from frcrn_export.engines.gpus import TargetGpu, check_served, known_gpu
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.gpu import Gpu, first_gpu
from frcrn_export.runtime.sessions.tensorrt_backends import (
    TENSORRT_BACKENDS,
    is_tensorrt_installed,
    sm_text,
)


def detect_gpu() -> TargetGpu:
    """The first GPU that CUDA shows. Raises UserError where there is none, or no driver."""
    try:
        return _known_or_new(first_gpu())
    except BackendError as error:
        raise UserError(
            f"no GPU to detect: {error}; or name the one to build for, as in --gpu rtx4090d"
        ) from error


def present_gpu() -> TargetGpu | None:
    """The first GPU that CUDA shows, or None."""
    try:
        return _known_or_new(first_gpu())
    except BackendError:
        return None


def resolve_backend(choice: str, gpu: TargetGpu, *, here: bool = True) -> TensorrtBackend:
    """The backend to build with. `choice` is a backend's name or `auto`.

    `auto` takes classic TensorRT if it is installed and a GPU with this SM is present (it tunes on
    that GPU), else TensorRT-RTX if that serves the GPU. With `here` False, for a build elsewhere,
    the fallback is classic TensorRT. Raises UserError.
    """
    if choice in TENSORRT_BACKENDS:
        backend = cast(TensorrtBackend, choice)
        check_served(backend, gpu)
        return backend
    if choice != "auto":
        raise UserError(f"unknown backend {choice!r}; one of: auto, {', '.join(TENSORRT_BACKENDS)}")
    if "tensorrt" in gpu.backends and is_tensorrt_installed("tensorrt"):
        present = present_gpu()
        if present is not None and present.sm == gpu.sm:
            return "tensorrt"
    if "tensorrt-rtx" in gpu.backends:
        return "tensorrt-rtx"
    if not here and "tensorrt" in gpu.backends:
        return "tensorrt"
    raise UserError(
        f"{gpu.title} (SM {sm_text(gpu.sm)}) needs classic TensorRT, which builds on a "
        f"machine with that GPU: run this there, after: pip install "
        f'"frcrn-export[{TENSORRT_BACKENDS["tensorrt"].extra}]"'
    )


def _known_or_new(gpu: Gpu) -> TargetGpu:
    """The registered GPU, or an entry that `find_gpu` finds by its SM."""
    known = known_gpu(gpu.name)
    if known is not None and known.sm == gpu.sm:
        return known
    return TargetGpu(f"sm{gpu.sm}", gpu.name, gpu.sm, round(gpu.total_memory / 2**30))
