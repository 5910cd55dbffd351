"""Which file of a bundle a backend runs, and what to do where it is missing."""

from typing import get_args

from frcrn_export.runtime.bundle.manifest import (
    QUANTIZED,
    EngineInfo,
    FileEntry,
    Format,
    Manifest,
    Precision,
    Role,
    Target,
    TensorrtBackend,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import (
    calibrate_command,
    first_engine,
    onnx_command,
    options_of,
)
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.gpu import first_gpu
from frcrn_export.runtime.sessions.session import Backend
from frcrn_export.runtime.text import quoted

# Precisions that may run unasked, the best first. INT8 and FP8 trade quality away.
UNASKED: tuple[Precision, ...] = ("fp16", "fp32")
_ROLES: tuple[Role, ...] = ("core", "pipeline")


def runs_on(info: EngineInfo, sm: int) -> bool:
    """Whether an engine runs on GPUs of this compute capability."""
    return sm in info.sms or (info.hardware_compatible and sm > min(info.sms))


def engine_entries(bundle: Bundle, backend: TensorrtBackend) -> list[FileEntry]:
    """A backend's engines for the GPU of this machine; all of them if there are none, or no GPU.

    (Opening one of them then says what is wrong.)
    """
    entries = [e for e in bundle.manifest.files if e.engine and e.engine.backend == backend]
    try:
        sm = first_gpu().sm if entries else 0
    except BackendError:
        return entries
    return [e for e in entries if e.engine and runs_on(e.engine, sm)] or entries


def choose_engine(
    bundle: Bundle, backend: TensorrtBackend, precision: Precision | None = None
) -> FileEntry | None:
    """The engine to denoise with; one built for this GPU model comes first.

    Without a precision FP16 comes before FP32; INT8 and FP8 are not chosen.
    """
    entries = _entries(bundle, backend, _ROLES, precision)
    return min(entries, key=_rank, default=None)


def choose_streaming_engine(
    bundle: Bundle, backend: TensorrtBackend, batch: int, precision: Precision | None = None
) -> FileEntry | None:
    """The engine for `batch` streams, else one for another number; chosen as above."""
    entries = _entries(bundle, backend, ("core_streaming",), precision)
    return min(entries, key=lambda e: (_streams(e) != batch, *engine_rank(e)), default=None)


def _entries(
    bundle: Bundle, backend: TensorrtBackend, roles: tuple[Role, ...], precision: Precision | None
) -> list[FileEntry]:
    precisions = UNASKED if precision is None else (precision,)
    return [
        entry
        for entry in engine_entries(bundle, backend)
        if entry.role in roles and entry.precision in precisions
    ]


def _streams(entry: FileEntry) -> int:
    assert entry.engine is not None
    return entry.engine.profile.max[0]


def _rank(entry: FileEntry) -> tuple[int, bool, bool, int]:
    return _ROLES.index(entry.role), *engine_rank(entry)


def engine_rank(entry: FileEntry) -> tuple[bool, bool, int]:
    """Sorts engines that run on the same GPU: the fastest first."""
    assert entry.engine is not None
    # Hardware-compatible engines are slower, those for several SMs may be.
    info = entry.engine
    return info.hardware_compatible, entry.precision != UNASKED[0], len(info.sms)


def _has_gpu() -> bool:
    """Whether there is a GPU here, which the engine will be for."""
    try:
        first_gpu()
    except BackendError:
        return False
    return True


_ON_GPU = ("onnxruntime-cuda", "onnxruntime-tensorrt")


def check_precision(precision: Precision | None) -> None:
    """Raise UserError for a precision that does not exist."""
    if precision not in (None, *get_args(Precision)):
        raise UserError(f"precision={precision!r}; there are: {', '.join(get_args(Precision))}")


def choose_file(
    manifest: Manifest, role: Role, format: Format, precision: Precision | None, backend: str
) -> FileEntry | None:
    """The file of a role in a precision, float32 by default; None if it is missing.

    INT8 and FP8 have to be asked for: they trade quality away. Prefers the file that was quantized
    for the backend's device, CPU or GPU.
    """
    if precision not in QUANTIZED:
        return manifest.file(role, format, precision or "fp32")
    targets: tuple[Target, ...] = ("cpu", "tensorrt")
    ordered = reversed(targets) if backend in _ON_GPU else targets
    files = (manifest.file(role, format, precision, target) for target in ordered)
    return next(filter(None, files), None)


def quantized_file(manifest: Manifest, role: Role, backend: str) -> FileEntry | None:
    """An INT8 or FP8 ONNX file of a role: it runs where it is asked for. None without one."""
    files = (choose_file(manifest, role, "onnx", p, backend) for p in sorted(QUANTIZED))
    return next(filter(None, files), None)


def missing_file(
    bundle: Bundle,
    name: str,
    backend: Backend,
    precision: Precision | None,
    *,
    streaming: bool = False,
    batch: int = 1,
) -> BackendError:
    """The error for a missing file of `backend`, named `name`, with the command that makes it."""
    if backend.format == "torchscript" and (precision not in (None, "fp32") or streaming):
        return BackendError(f"{name} runs in fp32 and offline; take --backend onnxruntime")
    role: Role = "core_streaming" if streaming else "core"
    what = f"{'streaming ' * streaming}{precision or backend.format} file"
    quantized = quantized_file(bundle.manifest, role, name)
    if precision is None and quantized is not None and backend.format == "onnx":
        return BackendError(
            f"{bundle.path}: {quantized.path} runs only where it is asked for; add --precision "
            f"{quantized.precision}"
        )
    command = _command(bundle, name, backend, precision, streaming, batch)
    return BackendError(f"{bundle.path}: no {what} in this bundle for {name}; run: {command}")


def _command(
    bundle: Bundle,
    name: str,
    backend: Backend,
    precision: Precision | None,
    streaming: bool,
    batch: int,
) -> str:
    manifest = bundle.manifest
    role: Role = "core_streaming" if streaming else "core"
    if backend.engines is not None:
        return first_engine(
            bundle.path,
            manifest,
            precision or "fp16",
            backend.engines,
            role=role,
            batch=batch,
            gpu="auto" if _has_gpu() else None,
        )
    if backend.format == "torchscript":
        return f"frcrn-export torchscript {options_of(manifest)} -o {quoted(bundle.path)}"
    if precision in QUANTIZED and manifest.file(role, "onnx") is not None:
        for_gpu = name in _ON_GPU or precision == "fp8"
        target: Target = "tensorrt" if for_gpu else "cpu"
        return calibrate_command(bundle.path, target, precision, streaming=streaming)
    return onnx_command(manifest, fp16=precision == "fp16", streaming=streaming)
