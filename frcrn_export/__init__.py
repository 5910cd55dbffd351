"""From a PyTorch speech denoiser to verified ONNX, TorchScript and TensorRT artifacts.

Each public name is imported when it is first used: `import frcrn_export` brings neither NumPy nor
PyTorch, and `Denoiser` works where only the runtime is installed. docs/python.md has examples.
"""

import logging
from importlib import import_module
from pkgutil import extend_path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frcrn_export.calibration.calibrate import calibrate
    from frcrn_export.calibration.quality.evaluation import evaluate
    from frcrn_export.engines.engine import build_engine
    from frcrn_export.exporters.bundle import export_onnx, export_torchscript
    from frcrn_export.exporters.loading import load_model
    from frcrn_export.exporters.streaming_export import StreamingOptions
    from frcrn_export.exporters.verify import verify
    from frcrn_export.runtime.bench.bench import bench
    from frcrn_export.runtime.bench.compare import compare_bundles
    from frcrn_export.runtime.bundle.reader import open_bundle
    from frcrn_export.runtime.denoiser import Denoiser
    from frcrn_export.runtime.errors import (
        AudioError,
        BackendError,
        BundleError,
        CheckFailed,
        CheckpointError,
        FrcrnExportError,
        UserError,
    )
    from frcrn_export.runtime.pack.pack import pack
    from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
    from frcrn_export.runtime.streaming.multi import MultiStream

__all__ = [
    "AudioError",
    "BackendError",
    "BundleError",
    "CheckFailed",
    "CheckpointError",
    "Denoiser",
    "FrcrnExportError",
    "MultiStream",
    "StreamingDenoiser",
    "StreamingOptions",
    "UserError",
    "bench",
    "build_engine",
    "calibrate",
    "compare_bundles",
    "evaluate",
    "export_onnx",
    "export_torchscript",
    "load_model",
    "open_bundle",
    "pack",
    "verify",
]

# The four packages are beside this folder in a checkout, and inside it when installed.
__path__ = extend_path(__path__, __name__)

_MODULES = MappingProxyType(
    {
        "AudioError": "frcrn_export.runtime.errors",
        "BackendError": "frcrn_export.runtime.errors",
        "BundleError": "frcrn_export.runtime.errors",
        "CheckFailed": "frcrn_export.runtime.errors",
        "CheckpointError": "frcrn_export.runtime.errors",
        "Denoiser": "frcrn_export.runtime.denoiser",
        "FrcrnExportError": "frcrn_export.runtime.errors",
        "MultiStream": "frcrn_export.runtime.streaming.multi",
        "StreamingDenoiser": "frcrn_export.runtime.streaming.denoiser",
        "StreamingOptions": "frcrn_export.exporters.streaming_export",
        "UserError": "frcrn_export.runtime.errors",
        "bench": "frcrn_export.runtime.bench.bench",
        "build_engine": "frcrn_export.engines.engine",
        "calibrate": "frcrn_export.calibration.calibrate",
        "compare_bundles": "frcrn_export.runtime.bench.compare",
        "evaluate": "frcrn_export.calibration.quality.evaluation",
        "export_onnx": "frcrn_export.exporters.bundle",
        "export_torchscript": "frcrn_export.exporters.bundle",
        "load_model": "frcrn_export.exporters.loading",
        "open_bundle": "frcrn_export.runtime.bundle.reader",
        "pack": "frcrn_export.runtime.pack.pack",
        "verify": "frcrn_export.exporters.verify",
    }
)

# Silent unless the program sets up logging; the command line prints warnings.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
