"""Streaming cores over whole streams, for comparison with the offline network."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry, StreamingInfo
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.choose import engine_entries
from frcrn_export.runtime.sessions.registry import BACKENDS, ENGINE_BACKENDS, is_installed
from frcrn_export.runtime.streaming.session import (
    STREAM_BACKENDS,
    StreamSession,
    open_stream_entry,
    rows_of,
)

_DEFAULT_BACKENDS = ("onnxruntime-cpu", *ENGINE_BACKENDS)


@dataclass(frozen=True)
class StreamedCore:
    """A streaming core opened by a backend, and its label in tables."""

    label: str
    entry: FileEntry
    session: StreamSession

    @property
    def info(self) -> StreamingInfo:
        """Its I/O: chunk, look-ahead and states."""
        assert self.entry.streaming is not None
        return self.entry.streaming

    @property
    def rows(self) -> int:
        """The number of streams that an engine takes; 1 for other files."""
        return rows_of(self.entry)

    def __call__(self, given: Float32Array) -> Float32Array:
        """Whole streams [B, ..., T], call by call, to their outputs of the same shape.

        Zeros follow each stream until its last frame has come out; the first call past its end
        states the end. Engines take the streams in groups. Raises BackendError if the backend
        fails.
        """
        if self.entry.engine is None:
            return self._run(given)
        rows = self.rows
        spare = -len(given) % rows
        padded = np.concatenate([given, np.zeros((spare, *given.shape[1:]), np.float32)])
        groups = np.split(padded, len(padded) // rows)
        return np.concatenate([self._run(group) for group in groups])[: len(given)]

    def _run(self, given: Float32Array) -> Float32Array:
        """As many streams as the session can take at once."""
        chunk, lookahead = self.info.chunk, self.info.lookahead
        batch, frames = len(given), given.shape[-1]
        calls = ceil((frames + lookahead) / chunk)
        padding = [(0, 0)] * (given.ndim - 1) + [(0, calls * chunk - frames)]
        padded = np.pad(given, padding)
        enhanced = np.empty_like(padded)
        initial = self.session.initial_states()
        self.session.load([state.repeat(batch, axis=0) for state in initial], batch)
        for stop in range(chunk, calls * chunk + 1, chunk):
            now = slice(stop - chunk, stop)
            end = frames if stop > frames else UNKNOWN_END
            ends = np.full(batch, end, np.float32)
            enhanced[..., now] = self.session.run(padded[..., now], ends)
        return enhanced[..., lookahead : lookahead + frames]


def open_streamed(bundle: Bundle, backends: tuple[str, ...] = ()) -> Iterator[StreamedCore]:
    """Open the streaming cores one by one, by each of the named backends that can.

    Without names: ONNX files by ONNX Runtime on the processor, engines by TensorRT, as far as these
    are installed and can run here. Raises BackendError if a named backend cannot run here.
    """
    installed = (b for b in _DEFAULT_BACKENDS if is_installed(BACKENDS[b].package))
    chosen = [b for b in backends or installed if b in STREAM_BACKENDS]
    for entry in bundle.manifest.files:
        if entry.role != "core_streaming":
            continue
        for backend in (b for b in chosen if BACKENDS[b].takes(entry)):
            engines = BACKENDS[backend].engines
            if engines is not None and entry not in engine_entries(bundle, engines):
                continue  # an engine for another GPU, where there is one for this
            label = entry.path if len(backends) < 2 else f"{entry.path} ({backend})"
            try:
                session = open_stream_entry(bundle, entry, backend, batch=rows_of(entry))
            except BackendError:
                if backends or entry.engine is None:
                    raise
                continue  # an engine for another machine
            yield StreamedCore(label, entry, session)
