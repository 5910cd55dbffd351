"""Many streams through one network: they come and go, and move on together."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.audio import Float32Array
from frcrn_export.runtime.bundle import Bundle
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.manifest import Manifest
from frcrn_export.runtime.sessions import ENGINE_BACKENDS
from frcrn_export.runtime.streaming.network import Network, open_network
from frcrn_export.runtime.streaming.stream import Stream, advance, check_chunk
from frcrn_export.runtime.streaming.transforms import Latency


class MultiStream:
    """Removes noise from any number of streams, each of which begins and ends when it likes.

    Every stream gives what a `StreamingDenoiser` of its own would give. For one thread.

    >>> calls = MultiStream.open("frcrn", max_streams=32)
    >>> alice, bob = calls.add(), calls.add()
    >>> done = calls.process({alice: chunk, bob: other})  # {alice: samples, bob: samples}
    >>> rest = calls.flush(alice)  # alice hangs up, bob stays
    """

    # Streams that have samples for another call sit in the rows of the session, the others are
    # parked: their states wait here. While the same streams are ready each time, nothing moves.

    def __init__(
        self, network: Network, max_streams: int | None = None, restore_level: bool = True
    ) -> None:
        self._network = network
        self._session = network.session
        self._restore_level = restore_level
        self._streams: dict[int, Stream] = {}
        self._rows: list[int] = []
        self._parked: dict[int, list[Float32Array]] = {}
        self._ids = count()
        # An engine has the rows that it was built with, used or not.
        self._fixed_rows = self._session.backend in ENGINE_BACKENDS
        self._most = max_streams
        if self._fixed_rows:
            self._most = min(max_streams or len(self._session.inputs), len(self._session.inputs))
        elif max_streams is not None:
            self._load([self._session.initial_states()] * max_streams)
        self.latency: Latency = network.transform().latency

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str,
        backend: str = "auto",
        threads: int | None = None,
        *,
        max_streams: int | None = None,
        sample_rate: int | None = None,
        restore_level: bool = True,
        windowed: bool | float = False,
    ) -> "MultiStream":
        """Open a bundle that has a streaming core; the arguments of `StreamingDenoiser.open`.

        `max_streams`: memory is made for so many at once, and `add` refuses more; without it, it
        grows with them. Raises BundleError, BackendError, AudioError, UserError.
        """
        if max_streams is not None and max_streams < 1:
            raise UserError(f"max_streams={max_streams}: give at least 1")
        network = open_network(
            bundle, backend, threads, sample_rate, windowed=windowed, batch=max_streams or 1
        )
        return cls(network, max_streams, restore_level)

    def add(self, gain: float | None = None) -> int:
        """Begin a stream; the number is what it is called from now on, and is never used again.

        `gain`: the level's gain where it is known beforehand. Raises UserError where there are
        `max_streams` already.
        """
        if self._most is not None and len(self._streams) >= self._most:
            raise UserError(
                f"{self._most} streams are there, as many as max_streams (or the engine's rows) "
                "allow; remove() one, or open with more"
            )
        stream = next(self._ids)
        self._streams[stream] = self._network.stream(gain, self._restore_level)
        return stream

    def process(self, chunks: Mapping[int, npt.NDArray[Any]]) -> dict[int, Float32Array]:
        """Take the next samples of some streams, and give for each of them what is done.

        The streams with enough samples for another call go through the network together, so give
        all that arrived at once. A chunk is as `StreamingDenoiser.process` takes it, of any length.
        Raises AudioError for a wrong chunk and UserError for a stream that is not there, before
        any stream moved.
        """
        given = {stream: self._stream(stream) for stream in chunks}
        for chunk in chunks.values():
            check_chunk(chunk)
        for number, stream in given.items():
            stream.push(chunks[number])
        self._advance(given)
        return {number: stream.pull() for number, stream in given.items()}

    def flush(self, stream: int) -> Float32Array:
        """End a stream and give its rest, so that as many samples came out as went in; it leaves.

        Other streams stay where they are. Several that end together: `flush_all`.
        """
        return self.flush_all([stream])[stream]

    def flush_all(self, streams: Sequence[int] | None = None) -> dict[int, Float32Array]:
        """End these streams, or all, together, and give what is left of each; they leave."""
        numbers = list(self._streams) if streams is None else streams
        ending = {number: self._stream(number) for number in numbers}
        for stream in ending.values():
            stream.finish()
        self._advance(ending)
        rest = {number: stream.pull() for number, stream in ending.items()}
        for number in ending:
            self.remove(number)
        return rest

    def remove(self, stream: int) -> None:
        """Forget a stream, and what it still had to give."""
        self._stream(stream)
        del self._streams[stream]
        self._parked.pop(stream, None)

    def replaced_samples(self, stream: int) -> int:
        """How many samples of a stream were not finite and became 0."""
        return self._stream(stream).replaced_samples

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, stream: int) -> bool:
        return stream in self._streams

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self._network.manifest

    @property
    def sample_rate(self) -> int:
        """What chunks must have, in Hz."""
        return self.manifest.sample_rate

    @property
    def backend(self) -> str:
        """The name of the backend."""
        return self._session.backend

    @property
    def device(self) -> str:
        """Where the network runs: "cpu" or "cuda"."""
        return self._session.device

    def _stream(self, stream: int) -> Stream:
        if stream not in self._streams:
            raise UserError(f"there is no stream {stream}; begin one with add()")
        return self._streams[stream]

    def _advance(self, streams: Mapping[int, Stream]) -> None:
        while ready := [number for number, stream in streams.items() if stream.ready]:
            self._seat(ready)
            advance(self._session, [self._streams[number] for number in self._rows])

    def _seat(self, ready: list[int]) -> None:
        """Let the rows of the session be those of the streams that are ready."""
        if set(ready) == set(self._rows):
            return
        states = self._session.states()
        held = {
            number: [state[row : row + 1] for state in states]
            for row, number in enumerate(self._rows)
            if number in self._streams
        }
        self._load([self._states_of(number, held) for number in ready])
        for number, own in held.items():  # those that are left have no row now
            self._parked[number] = [state.copy() for state in own]
        self._rows = ready

    def _states_of(self, stream: int, held: dict[int, list[Float32Array]]) -> list[Float32Array]:
        for place in (held, self._parked):
            if stream in place:
                return place.pop(stream)
        return self._session.initial_states()

    def _load(self, rows: list[list[Float32Array]]) -> None:
        if self._fixed_rows:
            unused = len(self._session.inputs) - len(rows)
            rows = rows + [self._session.initial_states()] * unused
        states = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        self._session.load(states, len(rows))
