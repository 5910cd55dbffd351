"""Opening an engine: finds every reason why it cannot run here before anything runs."""

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frcrn_export.runtime.bundle.manifest import (
    EngineInfo,
    FileEntry,
    Manifest,
    Profile,
    TensorSpec,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import build_again
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import Gpu, GpuMemoryError, cuda_errors, first_gpu, use_gpu
from frcrn_export.runtime.sessions.choose import runs_on
from frcrn_export.runtime.sessions.tensorrt_backends import (
    load_tensorrt,
    sm_text,
    sms_text,
    version_of,
)
from frcrn_export.runtime.sessions.tensorrt_refit import refit_from_onnx

if TYPE_CHECKING:
    import tensorrt as trt

# A dtype of the manifest, and TensorRT's name for it.
_DTYPES = {"float32": "FLOAT"}
_KEPT_MESSAGES = 16
# How errors of a full memory read.
_MEMORY = re.compile(r"out of memory|OutOfMemory|could not be allocated", re.IGNORECASE)


class Reasons:
    """The errors that TensorRT has logged since the last call of `take`."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)

    def add(self, message: str) -> None:
        self._messages.append(" ".join(message.split()))

    def take(self) -> str:
        """The first error, which causes the later ones; clears all of them."""
        first = self._messages[0] if self._messages else "no reason given"
        self._messages.clear()
        return first


@dataclass(frozen=True)
class Engine:
    """A deserialized engine, and its entry in the manifest.

    `runtime` and `logger` have to live as long as `plan` does.
    """

    plan: "trt.ICudaEngine"
    runtime: "trt.Runtime"
    logger: "trt.ILogger"
    reasons: Reasons
    bundle: Bundle
    entry: FileEntry
    info: EngineInfo
    gpu: Gpu

    def failure(self, what: str) -> BackendError:
        """The error for a call of TensorRT that failed, with its own reason."""
        reason = self.reasons.take()
        kind = GpuMemoryError if _MEMORY.search(reason) else BackendError
        return kind(f"{self.entry.path}: {self.info.backend} {what}: {reason}")

    def rebuild_for(self, profile: Profile) -> str:
        """The command that builds it again for another profile."""
        return build_again(self.bundle.path, self.entry, profile=profile)


def load_engine(bundle: Bundle, entry: FileEntry, content: bytes | None = None) -> Engine:
    """Deserialize an engine that fits the installed TensorRT and the GPU.

    `content` is the plan where it does not lie in the bundle.

    Raises BackendError, with the command that builds a fitting one: a backend that is missing or
    has another version, a driver that is missing or too old, another GPU, a plan that TensorRT
    refuses, inputs and outputs that do not match the manifest.
    """
    info = entry.engine
    assert info is not None, "parse.py refuses an engine without it"
    installed = version_of(info.backend)
    if installed != info.version:
        raise BackendError(
            f"{entry.path} is for {info.backend} {info.version}, and {installed} is installed; "
            f"run: {build_again(bundle.path, entry)}"
        )
    gpu = first_gpu()
    _require_gpu(bundle, entry, info, gpu)
    use_gpu()
    reasons = Reasons()
    logger = _logger(info, reasons)
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(info.backend)
    with cuda_errors(entry.path):
        runtime = trt.Runtime(logger)
        plan = runtime.deserialize_cuda_engine(content or bundle.file(entry).read_bytes())
    rebuild = build_again(bundle.path, entry)
    if plan is None:
        raise BackendError(
            f"{entry.path}: {info.backend} cannot load it ({reasons.take()}); run: {rebuild}"
        )
    _require_tensors(plan, entry, rebuild)
    engine = Engine(plan, runtime, logger, reasons, bundle, entry, info, gpu)
    if info.stripped:
        with cuda_errors(entry.path):
            refit_from_onnx(plan, logger, info.backend, _weights(bundle, entry), engine.failure)
    return engine


def source_of(manifest: Manifest, info: EngineInfo) -> FileEntry | None:
    """The ONNX file an engine was built from; None where it is gone, or was replaced since."""
    for file in manifest.files:
        if file.path == info.source and file.sha256 == info.source_sha256:
            return file
    return None


def _weights(bundle: Bundle, entry: FileEntry) -> bytes:
    """The ONNX file with the weights of an engine that has none itself."""
    info = entry.engine
    assert info is not None
    if (source := source_of(bundle.manifest, info)) is not None:
        return bundle.file(source).read_bytes()
    raise BackendError(
        f"{entry.path} has no weights, and the bundle no longer has the {info.source} to take them "
        f"from; run: {build_again(bundle.path, entry)}, or for other weights: frcrn-export refit"
    )


def _require_gpu(bundle: Bundle, entry: FileEntry, info: EngineInfo, gpu: Gpu) -> None:
    if gpu.cuda[0] < info.cuda:
        raise BackendError(
            f"{entry.path} needs a driver for CUDA {info.cuda}, this one serves CUDA "
            f"{gpu.cuda[0]}.{gpu.cuda[1]}; update it, or with a {info.backend} for CUDA "
            f"{gpu.cuda[0]} run: {build_again(bundle.path, entry, gpu='auto')}"
        )
    if not runs_on(info, gpu.sm):
        raise BackendError(
            f"{entry.path} is for {info.gpu} (SM {sms_text(info.sms)}), this GPU is {gpu.name} "
            f"(SM {sm_text(gpu.sm)}); run: {build_again(bundle.path, entry, gpu='auto')}"
        )


def _require_tensors(plan: "trt.ICudaEngine", entry: FileEntry, rebuild: str) -> None:
    names = [plan.get_tensor_name(index) for index in range(plan.num_io_tensors)]
    found = {(plan.get_tensor_mode(n).name, n, plan.get_tensor_dtype(n).name) for n in names}
    stated = {("INPUT", *_named(tensor)) for tensor in entry.call_inputs}
    stated |= {("OUTPUT", *_named(tensor)) for tensor in entry.call_outputs}
    if found != stated:
        raise BackendError(
            f"{entry.path} has {_listed(found)}, the manifest says {_listed(stated)}; "
            f"run: {rebuild}"
        )


def _named(tensor: TensorSpec) -> tuple[str, str]:
    return tensor.name, _DTYPES.get(tensor.dtype, tensor.dtype)


def _listed(tensors: set[tuple[str, str, str]]) -> str:
    return ", ".join(f"{mode.lower()} {name!r} {dtype}" for mode, name, dtype in sorted(tensors))


def _logger(info: EngineInfo, reasons: Reasons) -> Any:
    """A logger that keeps errors and prints nothing."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(info.backend)

    class Logger(trt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                reasons.add(msg)

    return Logger()
