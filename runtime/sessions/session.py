"""A session: a core opened by a backend, and the checks of its input and output."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import EXPORT_AGAIN, FileEntry, Format, TensorrtBackend
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError

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
        """The output, float32, for an input of the shape that `entry` states.

        Raises BackendError where the shape does not match, or the backend fails.
        """


Opener = Callable[[Bundle, FileEntry, int | None], Session]


@dataclass(frozen=True)
class Backend:
    """How to open a session. `module` is imported on use, and imports without the backend.

    `engines`: the TensorRT whose engines it runs, None where it runs none.
    """

    module: str
    opener: str
    package: str
    extra: str
    format: Format
    engines: TensorrtBackend | None = None

    def takes(self, entry: FileEntry) -> bool:
        """Whether this backend runs files of this kind."""
        engines = entry.engine.backend if entry.engine else None
        return (entry.format, engines) == (self.format, self.engines)

    def open(self, bundle: Bundle, entry: FileEntry, threads: int | None) -> Session:
        opener: Opener = getattr(import_module(self.module), self.opener)
        return opener(bundle, entry, threads)


def bounded(entry: FileEntry, inputs: Float32Array) -> Float32Array:
    """An input, clipped to what the file's precision was verified for; says so where it matters."""
    limit = entry.input_limit
    if limit is None or np.abs(inputs).max(initial=0) <= limit:
        return inputs
    warn_of_limit("audio", entry)
    return np.clip(inputs, -limit, limit)


def warn_of_limit(name: str, entry: FileEntry) -> None:
    """Log that something was louder than a file's precision holds, and was clipped."""
    logger.warning(
        "%s: louder than %s was verified for, so clipped before the network; take --precision fp32",
        name,
        entry.path,
    )


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
    """A session's output, checked. Raises BackendError where it does not match the manifest.

    It is float32, and named axes have the same size as in the input.
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
