"""Build options, and the checks that need no builder."""

from dataclasses import dataclass
from pathlib import Path

from frcrn_export.engines.backends import check_served
from frcrn_export.engines.detection import present_gpu
from frcrn_export.engines.targets import Targets
from frcrn_export.runtime.bundle.manifest import Precision, Profile, TensorrtBackend, TensorSpec
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import sm_text, sms_text

_FP8_SM = 89  # the first with FP8


@dataclass(frozen=True)
class BuildOptions:
    """How to build an engine. The ONNX file decides the precision.

    `workspace_bytes` limits the scratch memory of a layer, None is the builder's own limit.
    `states` are the further inputs of a streaming core, static but for the batch of the profile.
    `strip_weights` leaves the weights out of a `refittable` engine; opening it takes them from the
    ONNX file. `timing_cache` is read if it exists and written afterwards; it and
    `hardware_compatible` (runs on Ampere and every later GPU, more slowly) exist in classic
    TensorRT only. `tf32` lets float32 convolutions round their inputs to 10 bits of mantissa.
    """

    backend: TensorrtBackend
    targets: Targets
    profile: Profile
    states: tuple[TensorSpec, ...] = ()
    workspace_bytes: int | None = None
    timing_cache: Path | None = None
    hardware_compatible: bool = False
    refittable: bool = False
    strip_weights: bool = False
    tf32: bool = True

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each further input, by name."""
        batch = self.profile.max[0]
        return {state.name: (batch, *map(int, state.shape[1:])) for state in self.states}


def check_precision(precision: Precision, targets: Targets) -> None:
    """Raise UserError for a precision that a GPU cannot compute in."""
    for gpu in targets.gpus:
        if precision == "fp8" and gpu.sm < _FP8_SM:
            raise UserError(
                f"FP8 needs SM {sm_text(_FP8_SM)} or later, {gpu.title} is SM {sm_text(gpu.sm)}; "
                "take --int8"
            )


def check_options(options: BuildOptions) -> None:
    """Raise UserError for options that the backend does not support, or not on this machine."""
    check_served(options.backend, options.targets)
    if options.workspace_bytes is not None and options.workspace_bytes < 1:
        raise UserError(f"--workspace {options.workspace_bytes}: needs at least 1 byte")
    if options.backend == "tensorrt-rtx":
        _check_rtx(options)
    else:
        _check_classic(options)


def _check_rtx(options: BuildOptions) -> None:
    if options.timing_cache is not None:
        raise UserError("tensorrt-rtx has no timing cache; leave out --timing-cache")
    if options.hardware_compatible:
        raise UserError(
            "tensorrt-rtx has no hardware-compatible engines; instead of --hardware-compatible "
            "give --gpu ampere+: one engine for Ampere and later"
        )
    option = "--strip-weights" if options.strip_weights else "--refittable"
    if options.refittable and present_gpu() is None:
        raise UserError(
            f"tensorrt-rtx needs a GPU to build a refittable engine; leave out {option}"
        )
    if options.refittable and len(options.targets.sms) > 1:
        raise UserError(
            f"tensorrt-rtx builds a refittable engine for one SM, {options.targets.title} are "
            f"SM {sms_text(options.targets.sms)}; leave out {option}, or give one GPU"
        )


def _check_classic(options: BuildOptions) -> None:
    """Check classic TensorRT, which times kernels on the present GPU and needs the target model."""
    targets = options.targets
    if options.hardware_compatible and targets.sms[0] < 80:
        raise UserError(
            f"hardware-compatible engines run on SM 8.0 and later, {targets.title} is "
            f"SM {sms_text(targets.sms)}; leave out --hardware-compatible"
        )
    present = present_gpu()
    if present is not None and targets.sms == (present.sm,):
        return
    here = f"{present.title}, SM {sm_text(present.sm)}" if present else "no GPU"
    rtx = "tensorrt-rtx" in targets.backends
    instead = ", or with --backend tensorrt-rtx, which needs no GPU" if rtx else ""
    raise UserError(
        f"tensorrt builds on the kind of GPU it builds for: {targets.title} "
        f"(SM {sms_text(targets.sms)}) is wanted, this machine has {here}; "
        f"run it on such a machine{instead}"
    )
