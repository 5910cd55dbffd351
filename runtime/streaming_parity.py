"""Streaming cores run over whole streams, to be compared with the offline network."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle import Bundle
from frcrn_export.runtime.manifest import UNKNOWN_END, FileEntry, StreamingInfo
from frcrn_export.runtime.sessions import BACKENDS, is_installed
from frcrn_export.runtime.sessions.onnx import OnnxSession

Float32Array = npt.NDArray[np.float32]

_DEFAULT_BACKENDS = ("onnxruntime-cpu",)


@dataclass(frozen=True)
class StreamedCore:
    """A streaming core opened by a backend, and what tables call it."""

    label: str
    session: OnnxSession

    @property
    def entry(self) -> FileEntry:
        """The file of the bundle it runs."""
        return self.session.entry

    def __call__(self, given: Float32Array) -> Float32Array:
        """Whole streams [B, ..., T], call by call, to what comes out: the same shape.

        Zeros follow the stream until its last frame has come out; its end is told by the first
        call that goes past it, as in a live stream. Raises BackendError if the backend fails.
        """
        info = self.entry.streaming
        assert info is not None
        (source,) = self.entry.inputs
        frames = given.shape[-1]
        calls = ceil((frames + info.lookahead) / info.chunk)
        padding = [(0, 0)] * (given.ndim - 1) + [(0, calls * info.chunk - frames)]
        padded = np.pad(given, padding)
        states = _initial(info, len(given))
        outputs = []
        for stop in range(info.chunk, calls * info.chunk + 1, info.chunk):
            feeds = {source.name: padded[..., stop - info.chunk : stop], **states}
            if info.end is not None:
                end = frames if stop > frames else UNKNOWN_END
                feeds[info.end] = np.full(len(given), end, np.float32)
            output, *following = self.session.session.run(None, feeds)
            outputs.append(output)
            states = {s.name: value for s, value in zip(info.states, following, strict=True)}
        whole: Float32Array = np.concatenate(outputs, axis=-1)
        return whole[..., info.lookahead : info.lookahead + frames]


def open_streamed(bundle: Bundle, backends: tuple[str, ...] = ()) -> Iterator[StreamedCore]:
    """Open the streaming cores by each named backend, or by ONNX Runtime on the processor.

    Raises BackendError where a backend cannot run one here.
    """
    chosen = backends or tuple(b for b in _DEFAULT_BACKENDS if is_installed(BACKENDS[b].package))
    for entry in bundle.manifest.files:
        for backend in chosen:
            if entry.streaming is not None and BACKENDS[backend].takes(entry):
                label = entry.path if len(backends) < 2 else f"{entry.path} ({backend})"
                session = BACKENDS[backend].open(bundle, entry, None)
                assert isinstance(session, OnnxSession)
                yield StreamedCore(label, session)


def _initial(info: StreamingInfo, batch: int) -> dict[str, Float32Array]:
    return {
        spec.name: np.full(
            (batch, *(size for size in spec.shape[1:] if isinstance(size, int))),
            spec.initial,
            np.float32,
        )
        for spec in info.states
    }
