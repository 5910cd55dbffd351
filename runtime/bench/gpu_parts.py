"""The parts of a call on the GPU: copies and network apart, with CUDA events in between.

A session puts all of a call into one CUDA graph, which has no times inside. Here the same call runs
in three steps.
"""

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.cases import Case, core_input
from frcrn_export.runtime.bench.result import Parts
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.gpu import cuda_errors, use_gpu
from frcrn_export.runtime.sessions.tensorrt_contexts import contexts_of
from frcrn_export.runtime.sessions.tensorrt_engine import load_engine
from frcrn_export.runtime.sessions.tensorrt_lane import BoundShape, Contexts, Lane, graph_of
from frcrn_export.runtime.streaming.tensorrt_session import open_engine

if TYPE_CHECKING:
    from cuda.core import Event, Stream

Clock = Callable[[], float]

# An idle GPU waits for the host between two steps, and the events would count that: so calls are
# enqueued one behind another, and the first of them, which the GPU did wait for, is left out.
_AHEAD = 4
_WARM_UP_SECONDS, _SECONDS, _MOST_CALLS = 0.2, 0.5, 200
_NOISE_LEVEL = 0.05  # a GPU takes less power for zeros, and clocks higher


class Opened(Protocol):
    """An engine that is ready to run: a lane of a session, or a session of streams."""

    cuda_stream: "Stream"
    contexts: Contexts


class EngineSteps:
    """Calls of an opened engine in three steps: inputs to the GPU, the network, output back.

    With classic TensorRT the network alone is a CUDA graph; TensorRT-RTX makes its own.
    """

    def __init__(
        self, opened: Opened, bound: Sequence[BoundShape], clock: Clock = perf_counter
    ) -> None:
        """Run and capture each of `bound`; calls take them in turn. `clock` is the host's, in s."""
        self._opened = opened  # has the memory that runs need
        self._stream, self._bound, self._clock = opened.cuda_stream, bound, clock
        self._networks: list[Callable[[Stream], None]] = []
        for each in bound:
            each.execute(self._stream)
            self._stream.sync()
            graph = graph_of(each, each.execute, self._stream, opened.contexts)
            self._networks.append(each.execute if graph is None else graph.launch)
        self._events: list[tuple[Event, ...]] = []  # of every call that is ahead
        self._next = 0

    def run(self, count: int) -> list[Parts]:
        """Enqueue calls one behind another, wait for all, and give the parts of each."""
        while len(self._events) < count:
            self._events.append(_four_events())
        ahead = self._events[:count]
        try:
            enqueue = [self._enqueue(*events) for events in ahead]
        finally:  # no copy may be pending when the caller goes on
            self._stream.sync()
        return [
            Parts(
                h2d=uploaded - begun,
                compute=computed - uploaded,
                d2h=downloaded - computed,
                enqueue=1e3 * seconds,
            )
            for (begun, uploaded, computed, downloaded), seconds in zip(ahead, enqueue, strict=True)
        ]

    def _enqueue(
        self, begun: "Event", uploaded: "Event", computed: "Event", downloaded: "Event"
    ) -> float:
        """Enqueue one call; give the seconds that the host took for the network."""
        bound, network = self._bound[self._next], self._networks[self._next]
        self._next = (self._next + 1) % len(self._bound)
        self._stream.record(begun)
        bound.upload(self._stream)
        self._stream.record(uploaded)
        started = self._clock()
        network(self._stream)
        seconds = self._clock() - started
        self._stream.record(computed)
        bound.output.download(self._stream)
        self._stream.record(downloaded)
        return seconds


def open_lane(bundle: Bundle, entry: FileEntry) -> Lane:
    """A lane of its own of an engine of recordings. Raises BackendError."""
    engine = load_engine(bundle, entry)
    return Lane(engine, use_gpu(), lambda device, stream: contexts_of(engine, device, stream))


def measure_parts(
    bundle: Bundle, case: Case, speech: Float32Array, clock: Clock = perf_counter
) -> Parts:
    """The medians of the parts of one call of a case's network.

    Args:
        bundle: The bundle of the case.
        case: Of an engine; of the kind `core`, `hop` or `hops`, whose calls are each one call of
            the network.
        speech: [N] at the bundle's rate; its length decides nothing.
        clock: Seconds of the host.

    Returns:
        Milliseconds. `h2d`, `compute` and `d2h` pass on the GPU, `enqueue` on the host: what it
        takes to start the network, its copies apart.

    Raises:
        BackendError: The engine cannot run here, or a call fails.
    """
    with cuda_errors(case.entry.path):
        steps = _open(bundle, case, speech, clock)
        warm = clock() + _WARM_UP_SECONDS
        steps.run(_AHEAD)
        while clock() < warm:
            steps.run(_AHEAD)
        calls: list[Parts] = []
        until = clock() + _SECONDS
        while not calls or (clock() < until and len(calls) < _MOST_CALLS):
            calls += steps.run(_AHEAD)[1:]
    return Parts(
        h2d=median(call.h2d for call in calls),
        compute=median(call.compute for call in calls),
        d2h=median(call.d2h for call in calls),
        enqueue=median(call.enqueue for call in calls),
    )


def _open(bundle: Bundle, case: Case, speech: Float32Array, clock: Clock) -> EngineSteps:
    if case.entry.streaming is None:
        wave = case.wave(bundle.manifest, speech)
        inputs = core_input(bundle.manifest, wave, case.batch)
        lane = open_lane(bundle, case.entry)
        bound = lane.bind(inputs.shape)
        bound.inputs[0].host[...] = inputs
        return EngineSteps(lane, (bound,), clock)
    session = open_engine(bundle, case.entry, case.batch)
    noise = np.random.default_rng(0).standard_normal(session.inputs.shape)
    session.inputs[...] = _NOISE_LEVEL * noise
    session.ends[...] = UNKNOWN_END
    return EngineSteps(session, session.bound, clock)


def _four_events() -> tuple["Event", ...]:
    from cuda.core import EventOptions

    device, options = use_gpu(), EventOptions(timing_enabled=True)
    return tuple(device.create_event(options) for _ in range(4))
