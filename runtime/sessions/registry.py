"""Sessions: a core opened by a backend. One module per backend that can run a core."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Protocol

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import (
    EXPORT_AGAIN,
    FileEntry,
    Format,
    Precision,
    Role,
    TensorrtBackend,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import onnx_command
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.choose import check_precision, choose_file, missing_file
from frcrn_export.runtime.sessions.tensorrt_backends import TENSORRT_BACKENDS

logger = logging.getLogger(__name__)


class Session(Protocol):
    """One artifact, loaded and ready to run. Threads may share a session."""

    @property
    def backend(self) -> str:
        """The name in `BACKENDS` it was opened under."""

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""

    @property
    def entry(self) -> FileEntry:
        """The file of the bundle it runs."""

    def run(self, inputs: Float32Array) -> Float32Array:
        """The output for an input of the shape that `entry` states, float32.

        Raises BackendError where the shape is another one, or the backend fails.
        """


Opener = Callable[[Bundle, FileEntry, int | None], Session]


@dataclass(frozen=True)
class Backend:
    """How to open a session. `module` is imported on use and must need no backend to import.

    `engines`: the TensorRT whose engines it runs, None where it runs none.
    """

    module: str
    opener: str
    package: str
    extra: str
    format: Format
    engines: TensorrtBackend | None = None

    def takes(self, entry: FileEntry) -> bool:
        """Whether a file is of the kind that this backend runs."""
        engines = entry.engine.backend if entry.engine else None
        return (entry.format, engines) == (self.format, self.engines)

    def open(self, bundle: Bundle, entry: FileEntry, threads: int | None) -> Session:
        opener: Opener = getattr(import_module(self.module), self.opener)
        return opener(bundle, entry, threads)


def _onnxruntime(opener: str, extra: str) -> Backend:
    module = "frcrn_export.runtime.sessions.onnx"
    return Backend(module, opener, "onnxruntime", extra, "onnx")


def _engines(backend: TensorrtBackend, opener: str) -> Backend:
    module = "frcrn_export.runtime.sessions.tensorrt"
    spec = TENSORRT_BACKENDS[backend]
    return Backend(module, opener, spec.module, spec.extra, "engine", backend)


BACKENDS = MappingProxyType(
    {
        "onnxruntime": _onnxruntime("open_best", "cpu"),
        "onnxruntime-cpu": _onnxruntime("open_cpu", "cpu"),
        "onnxruntime-cuda": _onnxruntime("open_cuda", "gpu"),
        "onnxruntime-tensorrt": _onnxruntime("open_tensorrt", "gpu"),
        "torchscript": Backend(
            "frcrn_export.runtime.sessions.torchscript",
            "open_torchscript",
            "torch",
            "export",
            "torchscript",
        ),
        "tensorrt": _engines("tensorrt", "open_tensorrt"),
        "tensorrt-rtx": _engines("tensorrt-rtx", "open_tensorrt_rtx"),
    }
)

# What `auto` takes: an engine that can run here, else ONNX Runtime. Never TorchScript: opening it
# runs code that is in the file.
ENGINE_BACKENDS = ("tensorrt", "tensorrt-rtx")
_AUTO = "onnxruntime"
RUNS_CODE = "opening TorchScript runs the code in it"


def open_session(
    bundle: Bundle,
    backend: str = "auto",
    threads: int | None = None,
    precision: Precision | None = None,
) -> Session:
    """Open a bundle's core with a backend of `BACKENDS`, or with the first of `auto` that can.

    TorchScript is opened only where `backend` names it: a foreign `core.pt` can do anything.

    `threads` limits the processor threads of one run; None leaves the choice to the backend.
    `precision`: the file of this precision; without it float32, of engines float16 first. Raises
    BackendError: unknown name, not installed, no file for it in the bundle, or it fails; UserError
    for a number of threads below 1 and an unknown precision.
    """
    check_threads(threads)
    check_precision(precision)
    if backend != "auto":
        require_backend(backend)
        return _open(bundle, backend, threads, precision)
    engine = _open_engine(bundle, precision)
    return engine or _open(bundle, _choose(bundle, precision), threads, precision)


def _open(
    bundle: Bundle, name: str, threads: int | None, precision: Precision | None = None
) -> Session:
    found = BACKENDS[name]
    entry = artifact(bundle, name, precision)
    if entry is None:
        raise missing_file(bundle, name, found, precision)
    session = found.open(bundle, entry, threads)
    long_entry = bundle.manifest.file("core_long", found.format)
    # It is in float32; other precisions stay themselves, see `runtime.pipeline.enhance`.
    is_float32_core = entry.role == "core" and entry.precision == "fp32"
    if not is_float32_core or long_entry is None or session.device != "cpu":
        return session
    from frcrn_export.runtime.sessions.long import SessionByLength

    return SessionByLength(session, long_entry, lambda: found.open(bundle, long_entry, threads))


def _open_engine(bundle: Bundle, precision: Precision | None) -> Session | None:
    """The first engine of the bundle that can run here, if there is one."""
    for name in ENGINE_BACKENDS:
        found = BACKENDS[name]
        if any(map(found.takes, bundle.manifest.files)) and is_installed(found.package):
            try:
                return _open(bundle, name, None, precision)
            except BackendError as error:
                logger.info("%s does not run here: %s", name, str(error))
    return None


def check_threads(threads: int | None) -> None:
    """Raise UserError for a number of threads that makes no sense."""
    if threads is not None and threads < 1:
        raise UserError(f"threads={threads}: give at least 1, or None for all")


def require_backend(name: str) -> None:
    """Raise BackendError for a backend that is unknown or not installed."""
    if name not in BACKENDS:
        names = ("auto", *BACKENDS)
        near = get_close_matches(name, names, n=1, cutoff=0.3)
        meant = f"did you mean {near[0]}? " if near else ""
        raise BackendError(f"unknown backend {name!r}; {meant}There are: {', '.join(names)}")
    if not is_installed(BACKENDS[name].package):
        raise BackendError(f"{name} is not installed; run: {_install_line(BACKENDS[name])}")


def artifact(bundle: Bundle, backend: str, precision: Precision | None = None) -> FileEntry | None:
    """The file that a backend runs: the core, or the whole pipeline in one file."""
    found = BACKENDS[backend]
    if found.engines is not None:
        from frcrn_export.runtime.sessions.choose import choose_engine

        return choose_engine(bundle, found.engines, precision)
    roles: tuple[Role, ...] = ("core", "pipeline")
    files = (choose_file(bundle.manifest, r, found.format, precision, backend) for r in roles)
    return next(filter(None, files), None)


def check_input(entry: FileEntry, inputs: Float32Array) -> None:
    """Raise BackendError where an input does not have the shape that the manifest states."""
    if not entry.inputs:
        return
    spec = entry.inputs[0]
    fits = inputs.ndim == len(spec.shape) and all(
        isinstance(wanted, str) or wanted == got
        for wanted, got in zip(spec.shape, inputs.shape, strict=True)
    )
    if not fits:
        shape = ", ".join(str(size) for size in spec.shape)
        raise BackendError(
            f"{entry.path}: input {spec.name!r} is [{shape}], got {list(inputs.shape)}; "
            f"its padding and segments do not fit it; {EXPORT_AGAIN}"
        )


def check_output(entry: FileEntry, inputs: Float32Array, output: object) -> Float32Array:
    """The output of a session. Raises BackendError where it is not what the manifest states.

    That is float32 in a shape whose named axes have the sizes that they have in the input.
    """
    if not isinstance(output, np.ndarray) or output.dtype != np.float32:
        kind = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
        raise BackendError(f"{entry.path}: gives {kind}, not float32; {EXPORT_AGAIN}")
    if entry.inputs and entry.outputs:
        sizes = dict(zip(entry.inputs[0].shape, inputs.shape, strict=True))
        wanted = [sizes.get(axis, axis) for axis in entry.outputs[0].shape]
        if len(wanted) != output.ndim or not all(
            isinstance(size, str) or size == got
            for size, got in zip(wanted, output.shape, strict=True)
        ):
            raise BackendError(
                f"{entry.path}: gives {list(output.shape)} for an input of {list(inputs.shape)}, "
                f"the manifest says [{', '.join(map(str, wanted))}]; {EXPORT_AGAIN}"
            )
    return output


def _choose(bundle: Bundle, precision: Precision | None) -> str:
    found = BACKENDS[_AUTO]
    if artifact(bundle, _AUTO, precision):
        if is_installed(found.package):
            return _AUTO
        raise BackendError(f"no backend is installed; run: {_install_line(found)}")
    if precision is not None:
        raise missing_file(bundle, _AUTO, found, precision)
    if script := artifact(bundle, "torchscript"):
        raise BackendError(
            f"{bundle.path / script.path}: {RUNS_CODE}; if you trust it, add --backend "
            f"torchscript, or make a file without code: {onnx_command(bundle.manifest)}"
        )
    raise BackendError(
        f"{bundle.path}: no file in this bundle that can be run; "
        f"run: {onnx_command(bundle.manifest)}"
    )


def is_installed(package: str) -> bool:
    """Whether a backend's package can be imported here."""
    try:
        import_module(package)
    except (ImportError, OSError):  # OSError: the package's libraries are missing
        return False
    return True


def _install_line(backend: Backend) -> str:
    return f'pip install "frcrn-export[{backend.extra}]"'
