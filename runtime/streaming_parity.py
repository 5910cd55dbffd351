"""Streaming cores run over whole streams, to be compared with the offline network."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle import Bundle
from frcrn_export.runtime.manifest import UNKNOWN_END, FileEntry, StreamingInfo
from frcrn_export.runtime.sessions import BACKENDS, is_installed
from frcrn_export.runtime.streaming.session import (
    STREAM_BACKENDS,
    StreamSession,
    open_stream_session,
)

Float32Array = npt.NDArray[np.float32]

_DEFAULT_BACKENDS = ("onnxruntime-cpu",)


@dataclass(frozen=True)
class StreamedCore:
    """A streaming core opened by a backend, and what tables call it."""

    label: str
    entry: FileEntry
    session: StreamSession

    @property
    def info(self) -> StreamingInfo:
        """How it is called."""
        assert self.entry.streaming is not None
        return self.entry.streaming

    def __call__(self, given: Float32Array) -> Float32Array:
        """Whole streams [B, ..., T], call by call, to what comes out of them: the same shape.

        Zeros follow each stream until its last frame has come out; its end is told by the first
        call that goes past it, as in a live stream. Raises BackendError if the backend fails.
        """
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
    """Open the streaming core, if there is one, by each of the named backends that can.

    Without names it is ONNX Runtime on the processor, where that is installed. Raises BackendError
    if a named backend cannot run here.
    """
    entry = bundle.manifest.file("core_streaming", "onnx")
    if entry is None:
        return
    installed = (b for b in _DEFAULT_BACKENDS if is_installed(BACKENDS[b].package))
    for backend in (b for b in backends or installed if b in STREAM_BACKENDS):
        label = entry.path if len(backends) < 2 else f"{entry.path} ({backend})"
        yield StreamedCore(label, entry, open_stream_session(bundle, backend))
