"""The inputs of a core for a recording: exactly those that the runtime would make.

Level, padding, windows and transforms are the runtime's own. A streaming core is really streamed:
each call gets the states that the previous call returned.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.source import array_source
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest, StreamingInfo
from frcrn_export.runtime.denoiser import enhance
from frcrn_export.runtime.streaming.level import stream_level
from frcrn_export.runtime.streaming.network import stream_transform
from frcrn_export.runtime.streaming.stream import Stream
from frcrn_export.runtime.streaming.transforms import initial_state

if TYPE_CHECKING:
    import onnxruntime

MOST_SECONDS = 8.0  # of one recording

Feed = dict[str, Float32Array]  # each input of the ONNX file
Outputs = Mapping[str, npt.NDArray[Any]]  # its outputs
Run = Callable[[Feed], Outputs]


def feeds(
    manifest: Manifest,
    entry: FileEntry,
    audio: Float32Array,
    session: "onnxruntime.InferenceSession | None" = None,
    seconds: float = MOST_SECONDS,
) -> Iterator[Feed]:
    """The feed of each call that a recording [N] at the bundle's rate takes; see `calls`.

    A streaming core needs a `session`, which may have more outputs; an offline core does not run.
    """
    if session is None and entry.streaming is not None:
        raise ValueError("a streaming core's states come from a session")
    run = _without_network(entry) if entry.streaming is None else session_run(session)
    return (feed for feed, _ in calls(manifest, entry, audio, run, seconds))


def calls(
    manifest: Manifest,
    entry: FileEntry,
    audio: Float32Array,
    run: Run,
    seconds: float = MOST_SECONDS,
) -> Iterator[tuple[Feed, Outputs]]:
    """Run a core on a recording [N] at the bundle's rate: the feed and the outputs of each call.

    A longer recording is cut to its loudest `seconds`. `run` is called once for each feed and gives
    the outputs by name, possibly more than the core's own. Feeds and outputs are not retained.
    Offline, raises AudioError where the audio is empty or not finite.
    """
    audio = excerpt(audio, round(seconds * manifest.sample_rate))
    if entry.streaming is None:
        return _offline(manifest, entry, audio, run)
    return _streaming(manifest, entry, entry.streaming, audio, run)


def excerpt(audio: Float32Array, samples: int) -> Float32Array:
    """The loudest part of `samples` samples of a recording [N], the first if several; or all."""
    if len(audio) <= samples:
        return audio
    energy = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    start = int(np.argmax(energy[samples:] - energy[:-samples]))
    return audio[start : start + samples]


def session_run(session: "onnxruntime.InferenceSession") -> Run:
    """All outputs of a session by their names."""
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, feed), strict=True))


def _without_network(entry: FileEntry) -> Run:
    """The core's output in place of the network: its input."""
    return lambda feed: {entry.outputs[0].name: feed[entry.inputs[0].name]}


class _Recorder:
    """A session for the runtime's pipeline that records inputs and outputs."""

    backend, device = "calibration", "cpu"

    def __init__(self, entry: FileEntry, run: Run) -> None:
        self.entry = entry
        self._run = run
        self.calls: list[tuple[Feed, Outputs]] = []

    def run(self, inputs: Float32Array) -> Float32Array:
        feed = {self.entry.inputs[0].name: inputs}
        outputs = self._run(feed)
        self.calls.append((feed, outputs))
        return outputs[self.entry.outputs[0].name]


def _offline(
    manifest: Manifest, entry: FileEntry, audio: Float32Array, run: Run
) -> Iterator[tuple[Feed, Outputs]]:
    recorder = _Recorder(entry, run)
    source = array_source(audio, manifest.sample_rate)
    for _ in enhance(source, recorder, manifest, restore_level=True):
        yield from recorder.calls
        recorder.calls.clear()


def _streaming(
    manifest: Manifest, entry: FileEntry, info: StreamingInfo, audio: Float32Array, run: Run
) -> Iterator[tuple[Feed, Outputs]]:
    transform = stream_transform(manifest, entry)
    level = stream_level(manifest.level, None, manifest.sample_rate, transform.gain_interval)
    stream = Stream(transform, level, restore_level=True)
    states: Feed = {}
    for spec in info.states:
        states[spec.name] = initial_state(spec)
    shape = tuple(map(int, entry.inputs[0].shape[1:]))

    def call() -> tuple[Feed, Outputs]:
        row = np.empty((1, *shape), np.float32)
        stream.fill(row[0])
        feed = {entry.inputs[0].name: row, **states}
        if info.end is not None:
            feed[info.end] = np.array([transform.end], np.float32)
        outputs = run(feed)
        for spec in info.states:
            states[spec.name] = outputs[spec.next]
        return feed, outputs

    stream.push(audio)
    while stream.ready:
        yield call()
    stream.finish()  # from now on the end of the stream is known
    while stream.ready:
        yield call()
