"""The backend that builds for a target: TensorRT on the GPU itself, or TensorRT-RTX anywhere."""

from typing import cast

from frcrn_export.engines.detection import present_gpu
from frcrn_export.engines.targets import Targets
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import (
    SERVED_SMS,
    TENSORRT_BACKENDS,
    is_tensorrt_installed,
    sm_text,
    sms_text,
)


def resolve_backend(choice: str, targets: Targets, *, here: bool = True) -> TensorrtBackend:
    """The backend to build with. `choice` is a backend's name or `auto`.

    `auto` takes classic TensorRT if it is installed, the target is one SM and a GPU with it is
    present (it tunes on that GPU), else TensorRT-RTX if that serves the target. With `here` False,
    for a build elsewhere, the fallback is classic TensorRT. Raises UserError.
    """
    if choice in TENSORRT_BACKENDS:
        backend = cast(TensorrtBackend, choice)
        check_served(backend, targets)
        return backend
    if choice != "auto":
        raise UserError(f"unknown backend {choice!r}; one of: auto, {', '.join(TENSORRT_BACKENDS)}")
    if "tensorrt" in targets.backends and is_tensorrt_installed("tensorrt"):
        present = present_gpu()
        if present is not None and targets.sms == (present.sm,):
            return "tensorrt"
    if "tensorrt-rtx" in targets.backends:
        return "tensorrt-rtx"
    if not targets.backends:
        check_served("tensorrt-rtx", targets)
    if not here:
        return "tensorrt"
    raise UserError(
        f"{targets.title} (SM {sms_text(targets.sms)}) needs classic TensorRT, which builds on a "
        f"machine with that GPU: run this there, after: pip install "
        f'"frcrn-export[{TENSORRT_BACKENDS["tensorrt"].extra}]"'
    )


def check_served(backend: TensorrtBackend, targets: Targets) -> None:
    """Raise UserError, naming what to use instead, where a backend does not serve a target."""
    if backend in targets.backends:
        return
    sms = f"SM {sms_text(targets.sms)}"
    if "tensorrt-rtx" in targets.backends:
        raise UserError(
            f"tensorrt builds an engine for one SM, {targets.title} are {sms}; give --backend "
            "tensorrt-rtx, or on a GPU from Ampere on: --gpu auto --hardware-compatible"
        )
    served = SERVED_SMS[backend]
    gpu = next((gpu for gpu in targets.gpus if gpu.sm not in served), targets.gpus[0])
    instead = [
        f"--backend {other}"
        for other, others in SERVED_SMS.items()
        if other != backend and gpu.sm in others
    ]
    ways = " or ".join(instead)
    if len(targets.sms) > 1:
        ways = f"an engine without it, and for it alone --gpu {gpu.name} {ways}".rstrip()
    raise UserError(
        f"{backend} does not serve {gpu.title} (SM {sm_text(gpu.sm)}), only SM "
        f"{sms_text(served)}; use {ways or 'another --gpu'}"
    )
