"""Stream sessions: a streaming core that keeps its states between calls."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry, Precision
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import streaming_hint
from frcrn_export.runtime.errors import BackendError, BundleError
from frcrn_export.runtime.sessions.choose import (
    check_precision,
    choose_file,
    choose_streaming_engine,
    missing_file,
)
from frcrn_export.runtime.sessions.registry import (
    BACKENDS,
    ENGINE_BACKENDS,
    check_threads,
    require_backend,
    warn_instead,
)
from frcrn_export.runtime.streaming.transforms import StateArray

# The backends that open streaming cores.
STREAM_BACKENDS = ("onnxruntime", "onnxruntime-cpu", "onnxruntime-cuda", *ENGINE_BACKENDS)


class StreamSession(Protocol):
    """A streaming core with the states of a batch of streams, one row each. Not thread-safe."""

    @property
    def backend(self) -> str:
        """The name in `BACKENDS` that it was opened under."""

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""

    @property
    def entry(self) -> FileEntry:
        """The file of the bundle it runs."""

    @property
    def inputs(self) -> Float32Array:
        """A buffer [B, ...] for `run`; filling it in place saves a copy."""

    @property
    def ends(self) -> Float32Array:
        """A buffer [B] for `run`."""

    def run(self, inputs: Float32Array, ends: Float32Array) -> Float32Array:
        """One call: inputs [B, ...] -> outputs [B, ...], and every state moves on.

        `ends` [B] has the number of frames (or samples) of each stream, UNKNOWN_END while unknown.
        The result is overwritten by the next call. Raises BackendError where the backend fails; the
        states are undefined then until `reset`.
        """

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Give these rows, or all, the initial states."""

    def states(self) -> list[StateArray]:
        """Copies of the states [B, ...], in the manifest's order."""

    def load(self, states: Sequence[StateArray], batch: int) -> None:
        """Replace the states by others [batch, ...]. Raises BackendError as `resize`."""

    def editing(self) -> AbstractContextManager[list[StateArray]]:
        """The states [B, ...] for editing; GPU sessions copy them back to the device afterwards."""

    def resize(self, batch: int) -> None:
        """Go on with the first `batch` rows; new rows are not initialised.

        Replaces `inputs` and `ends`. Raises BackendError where the batch is fixed, as in an engine.
        """

    def initial_states(self) -> list[StateArray]:
        """The states [1, ...] that a stream begins with."""


def open_stream_session(
    bundle: Bundle,
    backend: str = "auto",
    threads: int | None = None,
    batch: int = 1,
    precision: Precision | None = None,
) -> StreamSession:
    """Open a bundle's streaming core, by default an engine that runs here, else ONNX Runtime.

    `batch` is the number of rows that an engine must have; other sessions begin with one.
    `precision`: the file of this precision; without it float32, of engines float16 first. Raises
    BackendError for a backend that is unknown, not installed or cannot stream, and where the bundle
    has no file of the precision, BundleError where it has no streaming core, UserError for threads
    below 1 and an unknown precision.
    """
    check_threads(threads)
    check_precision(precision)
    if precision is None:
        require_streaming(bundle)
    if backend == "auto":
        engine, why_not = _open_engine(bundle, batch, precision)
        if engine is not None:
            return engine
        file = choose_file(bundle.manifest, "core_streaming", "onnx", precision, "onnxruntime")
        if why_not and file is None:  # as in a pack for a GPU
            raise BackendError(why_not)
        session = _open_file(bundle, "onnxruntime", threads, batch, precision)
        if why_not:
            warn_instead(session.entry, session.device, why_not)
        return session
    if backend in BACKENDS and backend not in STREAM_BACKENDS:
        raise BackendError(
            f"{backend} does not run streaming cores; take one of: {', '.join(STREAM_BACKENDS)}"
        )
    require_backend(backend)
    return _open_file(bundle, backend, threads, batch, precision)


def _open_file(
    bundle: Bundle, backend: str, threads: int | None, batch: int, precision: Precision | None
) -> StreamSession:
    found = BACKENDS[backend]
    if found.engines is not None:
        entry = choose_streaming_engine(bundle, found.engines, batch, precision)
    else:
        entry = choose_file(bundle.manifest, "core_streaming", found.format, precision, backend)
    if entry is None:
        raise missing_file(bundle, backend, found, precision, streaming=True, batch=batch)
    return open_stream_entry(bundle, entry, backend, threads, batch)


def open_stream_entry(
    bundle: Bundle, entry: FileEntry, backend: str, threads: int | None = None, batch: int = 1
) -> StreamSession:
    """Open one of the bundle's streaming cores by an installed backend. Raises BackendError."""
    if entry.engine is not None:
        from frcrn_export.runtime.streaming.tensorrt_session import open_engine

        return open_engine(bundle, entry, batch)
    from frcrn_export.runtime.streaming.onnx_session import open_onnx

    return open_onnx(bundle, entry, backend, threads)


def rows_of(entry: FileEntry) -> int:
    """The streams to open a streaming core with: those of an engine, else one."""
    return entry.engine.profile.max[0] if entry.engine else 1


def _open_engine(
    bundle: Bundle, batch: int, precision: Precision | None
) -> tuple[StreamSession | None, str]:
    """The first engine for this many streams that runs here, or None and why the first does not."""
    reasons = []
    for name in ENGINE_BACKENDS:
        found = BACKENDS[name]
        assert found.engines is not None
        entry = choose_streaming_engine(bundle, found.engines, batch, precision)
        if entry is not None:
            try:
                require_backend(name)
                return open_stream_entry(bundle, entry, name, batch=batch), ""
            except BackendError as error:
                reasons.append(str(error))
    return None, reasons[0] if reasons else ""


def require_streaming(bundle: Bundle, *, windows: bool = True) -> None:
    """Raise BundleError for a bundle without a streaming core.

    `windows`: whether windowed streaming would do instead.
    """
    if all(entry.role != "core_streaming" for entry in bundle.manifest.files):
        hint = streaming_hint(bundle.manifest, windows=windows)
        raise BundleError(f"{bundle.path}: no streaming core in this bundle; {hint}")
