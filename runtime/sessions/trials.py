"""Trials of the backends: each opens a tiny file, runs it, and looks at the result.

What is installed may still not start here: a library, a driver or a processor may not fit. Each
trial raises whatever the backend raises.
"""

from importlib import import_module
from io import BytesIO

import numpy as np

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt

# y = Add(x, x) of float32 [n], in IR 8 and opset 11.
_DOUBLE = (
    b'\x08\x08:9\n\x10\n\x01x\n\x01x\x12\x01y"\x03Add:\x00\x12\x01gZ\x10\n\x01x\x12\x0b\n\t\x08\x01'
    b"\x12\x05\n\x03\x12\x01nb\x10\n\x01y\x12\x0b\n\t\x08\x01\x12\x05\n\x03\x12\x01nB\x04\n\x00\x10\x0b"
)
_INPUT = np.array([1.0, -2.5, 3.0], np.float32)


def try_onnxruntime(provider: str) -> None:
    """Run an ONNX file with a provider of ONNX Runtime. Raises BackendError for a wrong result."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if provider != "CPUExecutionProvider" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(_DOUBLE, options, providers=[provider])
    if (first := session.get_providers()[0]) != provider:
        raise BackendError(f"it starts with {first} instead")
    _require_double(session.run(None, {"x": _INPUT})[0])


def try_torchscript() -> None:
    """Save, load and run a TorchScript file. Raises BackendError for a wrong result."""
    import torch

    example = torch.from_numpy(_INPUT)
    file = BytesIO()
    torch.jit.save(torch.jit.trace(lambda x: x + x, example), file)  # type: ignore[no-untyped-call]
    file.seek(0)
    _require_double(torch.jit.load(file)(example).numpy())  # type: ignore[no-untyped-call]


def try_onnx_export() -> None:
    """Import what an export needs."""
    for name in ("torch", "onnx", "onnxscript"):
        import_module(name)


def try_tensorrt(backend: TensorrtBackend, kind: str) -> None:
    """Make TensorRT's object of a kind, `Builder` or `Runtime`, with its libraries.

    An engine is not opened: it would have to be built for this GPU first.
    """
    trt = load_tensorrt(backend)
    errors: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(msg)

    made = getattr(trt, kind)(Logger())
    if made is None or errors:
        raise BackendError("; ".join(errors) or f"TensorRT makes no {kind}")


def _require_double(output: object) -> None:
    if not np.array_equal(np.asarray(output), 2 * _INPUT):
        raise BackendError(f"it computes {np.asarray(output).tolist()} where 2 x is right")
