"""Sessions of an ONNX file or model that record the core's inputs and outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnxruntime

from frcrn_export.calibration.graph.stream_states import with_states_of
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.source import array_source
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry, Manifest
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.onnx import OnnxSession, session_options
from frcrn_export.runtime.streaming.audio_stream import StreamedSources
from frcrn_export.runtime.streaming.network import Network, stream_transform
from frcrn_export.runtime.streaming.onnx_session import OnnxStreamSession

Model = Path | bytes  # an ONNX file, or its content

# For sessions that run in turn: threads that spin after a run would take the processors from the
# other session.
_STOP_SPINNING = "session.force_spinning_stop"


@dataclass(frozen=True)
class Call:
    """One call of a core: its input [1, ...], and the `end` of streams."""

    inputs: Float32Array
    ends: Float32Array


@dataclass
class CallTrace:
    """The calls of a core: outputs, and with `keep_calls` the inputs."""

    keep_calls: bool = False
    calls: list[Call] = field(default_factory=list)
    outputs: list[Float32Array] = field(default_factory=list)
    end: float = UNKNOWN_END

    def add(self, inputs: Float32Array, ends: Float32Array, outputs: Float32Array) -> None:
        """Append a call; the arrays may be overwritten afterwards."""
        if self.keep_calls:
            self.calls.append(Call(inputs.copy(), ends.copy()))
        self.outputs.append(outputs.copy())
        self.end = float(ends[0])

    def enhanced(self, lookahead: int) -> Float32Array:
        """The whole output [..., T]; of streams without what lies before or after them."""
        stop = int(min(self.end, UNKNOWN_END)) + lookahead
        return np.concatenate(self.outputs, axis=-1)[..., lookahead:stop]


@dataclass(frozen=True)
class RecordedCore:
    """A core inside the runtime's whole pipeline."""

    manifest: Manifest
    opened: "_RecordedSession | _RecordedStream"

    @property
    def lookahead(self) -> int:
        """The delay of its output in frames (or samples)."""
        streaming = self.opened.entry.streaming
        return streaming.lookahead if streaming else 0

    def denoise(
        self, noisy: Float32Array, *, keep_calls: bool = False
    ) -> tuple[Float32Array, CallTrace]:
        """[N] at the network's rate to [N], and the calls of the core."""
        self.opened.trace = CallTrace(keep_calls)
        source = array_source(noisy, self.manifest.sample_rate)
        blocks = list(self._denoiser().stream(source))
        return np.concatenate(blocks, axis=1)[0], self.opened.trace

    def run(self, calls: Sequence[Call]) -> None:
        """Run the core alone on these calls, from the initial states on."""
        self.opened.reset()
        for call in calls:
            self.opened.call(call)

    def _denoiser(self) -> Denoiser | StreamedSources:
        manifest, opened = self.manifest, self.opened
        if isinstance(opened, _RecordedSession):
            return Denoiser(manifest, opened, finite=False)
        entry = opened.entry
        return StreamedSources(Network(manifest, opened, lambda: stream_transform(manifest, entry)))


def open_recorded(
    manifest: Manifest, entry: FileEntry, model: Model, threads: int | None = None
) -> RecordedCore:
    """Open a model with the I/O signature of `entry`, in ONNX Runtime on the CPU.

    The states of a quantized model may be uint8. Raises BackendError where ONNX Runtime cannot load
    it.
    """
    options = session_options(threads)
    options.add_session_config_entry(_STOP_SPINNING, "1")
    given = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise BackendError(f"{entry.path}: ONNX Runtime cannot load it: {error}") from error
    opened = OnnxSession(session, "onnxruntime-cpu", "cpu", entry)
    if entry.streaming is None:
        return RecordedCore(manifest, _RecordedSession(opened))
    if isinstance(model, bytes):
        opened = replace(opened, entry=with_states_of(model, entry))
    return RecordedCore(manifest, _RecordedStream(opened))


class _RecordedSession:
    """An offline core; as `sessions.Session`."""

    def __init__(self, session: OnnxSession) -> None:
        self.trace = CallTrace()
        self._session = session
        self.backend, self.device, self.entry = session.backend, session.device, session.entry

    def run(self, inputs: Float32Array) -> Float32Array:
        outputs = self._session.run(inputs)
        self.trace.add(inputs, np.array([UNKNOWN_END], np.float32), outputs)
        return outputs

    def call(self, call: Call) -> None:
        """Run a call without recording it."""
        self._session.run(call.inputs)

    def reset(self) -> None:
        pass


class _RecordedStream(OnnxStreamSession):
    """A streaming core."""

    def __init__(self, session: OnnxSession) -> None:
        self.trace = CallTrace()
        super().__init__(session)

    def run(self, inputs: Float32Array, ends: Float32Array) -> Float32Array:
        outputs = super().run(inputs, ends)
        self.trace.add(inputs, ends, outputs)
        return outputs

    def call(self, call: Call) -> None:
        """Run a call without recording it."""
        super().run(call.inputs, call.ends)
