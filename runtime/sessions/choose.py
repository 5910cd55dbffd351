"""Which file of a bundle a backend runs, and what to do where it is not there."""

from shlex import quote
from typing import TYPE_CHECKING, get_args

from frcrn_export.runtime.bundle.manifest import (
    QUANTIZED,
    Consumer,
    FileEntry,
    Format,
    Manifest,
    Precision,
    Role,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import calibrate_command, options_of
from frcrn_export.runtime.errors import BackendError, UserError

if TYPE_CHECKING:
    from frcrn_export.runtime.sessions.registry import Backend

_ON_GPU = ("onnxruntime-cuda", "onnxruntime-tensorrt")


def check_precision(precision: Precision | None) -> None:
    """Raise UserError for a precision that does not exist."""
    if precision not in (None, *get_args(Precision)):
        raise UserError(f"precision={precision!r}; there are: {', '.join(get_args(Precision))}")


def choose_file(
    manifest: Manifest, role: Role, format: Format, precision: Precision | None, backend: str
) -> FileEntry | None:
    """The file of a role in a precision, float32 where none is asked for; None if it is not there.

    INT8 and FP8 are never chosen by themselves, they trade quality away. Of such files the one that
    was quantized for where the backend runs, a processor or a GPU, else the other.
    """
    if precision not in QUANTIZED:
        return manifest.file(role, format, precision or "fp32")
    consumers: tuple[Consumer, ...] = ("cpu", "tensorrt")
    ordered = reversed(consumers) if backend in _ON_GPU else consumers
    files = (manifest.file(role, format, precision, consumer) for consumer in ordered)
    return next(filter(None, files), None)


def missing_file(
    bundle: Bundle,
    name: str,
    backend: "Backend",
    precision: Precision | None,
    *,
    streaming: bool = False,
    batch: int = 1,
) -> BackendError:
    """The error for a file that `backend`, called `name`, would run: with what makes the file."""
    if backend.format == "torchscript" and (precision not in (None, "fp32") or streaming):
        return BackendError(f"{name} runs in fp32 and offline; take --backend onnxruntime")
    what = f"{'streaming ' * streaming}{precision or backend.format} file"
    command = _command(bundle, name, backend, precision, streaming)
    command += f" --batch {batch}" * (batch > 1 and backend.flavor is not None)
    return BackendError(f"{bundle.path}: no {what} in this bundle for {name}; run: {command}")


def _command(
    bundle: Bundle, name: str, backend: "Backend", precision: Precision | None, streaming: bool
) -> str:
    manifest, root = bundle.manifest, quote(str(bundle.path))
    options = options_of(manifest, streaming=streaming)
    command = backend.export_command.format(bundle=root, options=options)
    if backend.flavor is not None:
        wanted = f"{precision or 'fp16'}{' --calib FOLDER' * (precision in QUANTIZED)}"
        command = command.replace("--fp16", f"--{wanted}")
    elif precision in QUANTIZED:
        role: Role = "core_streaming" if streaming else "core"
        if manifest.file(role, "onnx") is not None:
            for_gpu = name in _ON_GPU or precision == "fp8"
            consumer: Consumer = "tensorrt" if for_gpu else "cpu"
            return calibrate_command(bundle.path, consumer, precision, streaming=streaming)
    elif precision == "fp16":
        command += " --fp16"
    return command + " --streaming" * streaming
