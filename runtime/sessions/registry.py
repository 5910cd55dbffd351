"""The backends that run cores, and opening a session with one."""

import logging
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType

from frcrn_export.runtime.bundle.manifest import (
    FileEntry,
    Precision,
    Role,
    TensorrtBackend,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import onnx_command
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.choose import (
    check_precision,
    choose_file,
    missing_file,
    quantized_file,
)
from frcrn_export.runtime.sessions.session import Backend, Session
from frcrn_export.runtime.sessions.tensorrt_backends import TENSORRT_BACKENDS
from frcrn_export.runtime.text import quoted

logger = logging.getLogger(__name__)


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

# The order of `auto`: an engine that runs here, else ONNX Runtime. Never TorchScript, which runs
# code from the file when it is opened.
ENGINE_BACKENDS = ("tensorrt", "tensorrt-rtx")
_AUTO = "onnxruntime"
RUNS_CODE = "opening TorchScript runs the code in it"


def open_session(
    bundle: Bundle,
    backend: str = "auto",
    threads: int | None = None,
    precision: Precision | None = None,
) -> Session:
    """Open a bundle's core with a backend of `BACKENDS`, or with the first of `auto` that works.

    TorchScript is opened only if `backend` names it: an untrusted `core.pt` can run any code.

    `threads` are the processor threads of one run; None is one for each usable processor.
    `precision`: the file of this precision; without it float32, of engines float16 first. Raises
    BackendError if the backend is unknown or not installed, has no file in the bundle, or fails;
    UserError for threads below 1 and an unknown precision.
    """
    check_threads(threads)
    check_precision(precision)
    if backend != "auto":
        require_backend(backend)
        return _open(bundle, backend, threads, precision)
    engine, why_not = _open_engine(bundle, precision)
    if engine is not None:
        return engine
    if why_not and artifact(bundle, _AUTO, precision) is None:  # as in a pack for a GPU
        raise BackendError(why_not)
    session = _open(bundle, _choose(bundle, precision), threads, precision)
    if why_not:
        warn_instead(session.entry, session.device, why_not)
    return session


def _open(
    bundle: Bundle, name: str, threads: int | None, precision: Precision | None = None
) -> Session:
    found = BACKENDS[name]
    entry = artifact(bundle, name, precision)
    if entry is None:
        raise missing_file(bundle, name, found, precision)
    session = found.open(bundle, entry, threads)
    long_entry = bundle.manifest.file("core_long", found.format)
    # `core_long` is float32; a core of another precision does not change to it, see
    # `denoiser.enhance`.
    is_float32_core = entry.role == "core" and entry.precision == "fp32"
    if not is_float32_core or long_entry is None or session.device != "cpu":
        return session
    from frcrn_export.runtime.sessions.long import SessionByLength

    return SessionByLength(session, long_entry, lambda: found.open(bundle, long_entry, threads))


def _open_engine(bundle: Bundle, precision: Precision | None) -> tuple[Session | None, str]:
    """The first engine of the bundle that runs here, or None and why the first does not."""
    reasons = []
    for name in ENGINE_BACKENDS:
        if artifact(bundle, name, precision) is not None:
            try:
                require_backend(name)
                return _open(bundle, name, None, precision), ""
            except BackendError as error:
                reasons.append(str(error))
    return None, reasons[0] if reasons else ""


def warn_instead(entry: FileEntry, device: str, why: str) -> None:
    """Log which file runs where the bundle has an engine that does not run here, and why not."""
    place = "processor" if device == "cpu" else "GPU"
    logger.warning(
        "%s runs instead of an engine (%s, on the %s): %s", entry.path, entry.precision, place, why
    )


def check_threads(threads: int | None) -> None:
    """Raise UserError for a number of threads below 1."""
    if threads is not None and threads < 1:
        raise UserError(f"threads={threads}: give at least 1, or None for the default")


def require_backend(name: str) -> None:
    """Raise BackendError for a backend that is unknown or not installed."""
    if name not in BACKENDS:
        names = ("auto", *BACKENDS)
        near = get_close_matches(name, names, n=1, cutoff=0.3)
        there = f"did you mean {near[0]}? There" if near else "there"
        raise BackendError(f"unknown backend {name!r}; {there} are: {', '.join(names)}")
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


def _choose(bundle: Bundle, precision: Precision | None) -> str:
    found = BACKENDS[_AUTO]
    if artifact(bundle, _AUTO, precision):
        if is_installed(found.package):
            return _AUTO
        raise BackendError(f"no backend is installed; run: {_install_line(found)}")
    if precision is not None or quantized_file(bundle.manifest, "core", _AUTO) is not None:
        raise missing_file(bundle, _AUTO, found, precision)
    if script := artifact(bundle, "torchscript"):
        raise BackendError(
            f"{bundle.path / script.path}: {RUNS_CODE}; if you trust it, add --backend "
            f"torchscript, or make a file without code: {onnx_command(bundle.manifest)}"
        )
    if any(entry.streaming is not None for entry in bundle.manifest.files):
        raise BackendError(
            f"{bundle.path}: its core is for streams alone; run: frcrn-export stream "
            f"{quoted(bundle.path)} < IN.wav > OUT.wav"
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
