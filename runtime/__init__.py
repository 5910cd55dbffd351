"""The light runtime: denoises audio with a bundle, without torch or onnx installed."""

from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
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

__all__ = [
    "AudioError",
    "BackendError",
    "Bundle",
    "BundleError",
    "CheckFailed",
    "CheckpointError",
    "Denoiser",
    "FrcrnExportError",
    "UserError",
    "open_bundle",
]
