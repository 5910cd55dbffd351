"""New weights for an engine that is open: those of an ONNX file with the same graph."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt

if TYPE_CHECKING:
    import tensorrt as trt

_SHOWN = 3


def refit_from_onnx(
    plan: "trt.ICudaEngine",
    logger: "trt.ILogger",
    backend: TensorrtBackend,
    model: bytes,
    failure: Callable[[str], BackendError],
) -> None:
    """Replace the engine's weights by those of a serialized ONNX model.

    The ONNX parser repeats what it did to the weights at the build. Raises the error that `failure`
    makes of what did not work; the engine is unusable then.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(backend)
    refitter = trt.Refitter(plan, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_bytes(model):
        raise failure("does not take the weights of the ONNX file")
    if missing := refitter.get_missing_weights():
        raise failure(f"lacks weights after the refit ({', '.join(missing[:_SHOWN])})")
    if not refitter.refit_cuda_engine():
        raise failure("cannot be refitted")
