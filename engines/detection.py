"""The GPU in this machine, through the CUDA driver."""

from frcrn_export.engines.gpus import TargetGpu, known_gpu
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.gpu import Gpu, first_gpu


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


def _known_or_new(gpu: Gpu) -> TargetGpu:
    """The registered GPU, or an entry that `find_gpu` finds by its SM."""
    known = known_gpu(gpu.name)
    if known is not None and known.sm == gpu.sm:
        return known
    return TargetGpu(f"sm{gpu.sm}", gpu.name, gpu.sm, round(gpu.total_memory / 2**30))
