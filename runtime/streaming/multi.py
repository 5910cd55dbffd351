"""Many streams through one network, in batches; streams begin and end at any time."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.processes import OfOneProcess
from frcrn_export.runtime.sessions.registry import ENGINE_BACKENDS
from frcrn_export.runtime.streaming.network import Network, open_network
from frcrn_export.runtime.streaming.stream import Stream, advance, check_block
from frcrn_export.runtime.streaming.transforms import Latency, StateArray


class MultiStream(OfOneProcess):
    """Denoises any number of streams, which begin and end at any time. Not thread-safe.

    Every stream gives the output of a `StreamingDenoiser` of its own.

    Example:
        >>> noisy, rate = soundfile.read("noisy.wav", dtype="float32")
        >>> calls = frcrn_export.MultiStream.open("wave", max_streams=32)
        >>> alice, bob = calls.add(), calls.add()
        >>> done = calls.process({alice: noisy[:8000], bob: noisy[8000:9000]})
        >>> rest = calls.flush(alice)  # alice hangs up, bob stays
        >>> len(done[alice]) + len(rest), bob in calls
        (8000, True)
    """

    # Streams with enough samples for a call occupy rows of the session. The others are parked:
    # their states wait here. While the same streams are ready each time, nothing is copied.

    def __init__(
        self, network: Network, max_streams: int | None = None, restore_level: bool = True
    ) -> None:
        self._network = network
        self._session = network.session
        self._restore_level = restore_level
        self._streams: dict[int, Stream] = {}
        self._rows: list[int] = []
        self._parked: dict[int, list[StateArray]] = {}
        self._initial = [state[0] for state in self._session.initial_states()]
        self._ids = count()
        # An engine has the rows that it was built with, used or not.
        self._fixed_rows = self._session.backend in ENGINE_BACKENDS
        self._most = max_streams
        if self._fixed_rows:
            self._most = min(max_streams or len(self._session.inputs), len(self._session.inputs))
        elif max_streams is not None:
            self._session.resize(max_streams)
        self.all_failed_calls = self.all_limited_calls = 0  # also of streams that have left
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
        precision: Precision | None = None,
        high_pass: bool | None = None,
    ) -> "MultiStream":
        """Open a bundle that has a streaming core, or with `windowed` any bundle.

        Args:
            bundle: A bundle, or its folder.
            backend: "auto" or a name in `frcrn_export.runtime.sessions.BACKENDS`.
            threads: Processor threads; None is one, with `windowed` one for each processor that
                this process may use.
            max_streams: The largest number of streams at once, for which memory is allocated; None
                grows on demand. Engines need it: their rows are fixed (`frcrn-export trt --batch`).
            sample_rate: Of the audio, in Hz; an error if it is not the bundle's. None: not checked.
            restore_level: As in `StreamingDenoiser.open`.
            windowed: As in `StreamingDenoiser.open`.
            precision: As in `StreamingDenoiser.open`.
            high_pass: As in `StreamingDenoiser.open`.

        Returns:
            An object without streams, see `add`.

        Raises:
            BundleError: The bundle is missing, was altered, or has no streaming core.
            BackendError: The backend is unknown, not installed, or cannot run this bundle here.
            AudioError: `sample_rate` is not the bundle's.
            UserError: An argument that is invalid for this bundle.
        """
        if max_streams is not None and max_streams < 1:
            raise UserError(f"max_streams={max_streams}: give at least 1")
        if backend == "auto" and max_streams is None and not windowed:
            backend = "onnxruntime"  # not an engine: it could not grow
        network = open_network(
            bundle,
            backend,
            threads,
            sample_rate,
            windowed,
            max_streams or 1,
            precision,
            high_pass,
        )
        return cls(network, max_streams, restore_level)

    def add(self, gain: float | None = None, attenuation_limit: float | None = None) -> int:
        """Begin a stream.

        Args:
            gain: A fixed linear input gain; turns the automatic level off.
            attenuation_limit: The most that noise is lowered by, in dB from 0; None is no limit.

        Returns:
            The stream's number, which is never reused.

        Raises:
            UserError: There are `max_streams` already; a gain or a limit out of range.
        """
        if self._most is not None and len(self._streams) >= self._most:
            raise UserError(
                f"{self._most} streams are there, as many as max_streams (or the engine's rows) "
                "allow; remove() one, or open with more"
            )
        stream = next(self._ids)
        self._streams[stream] = self._network.stream(gain, self._restore_level, attenuation_limit)
        return stream

    def process(self, blocks: Mapping[int, npt.NDArray[Any]]) -> dict[int, Float32Array]:
        """Denoise the next blocks of some streams.

        Streams with enough samples for a call go through the network as one batch, so give all
        blocks that have arrived in one call.

        Args:
            blocks: By stream, [n] floats of any length, as in `StreamingDenoiser.process`.

        Returns:
            By stream, [m] float32: its next finished samples.

        Raises:
            AudioError: A block that is no mono array of floats; no stream has advanced.
            BackendError: This is a forked child of the process that opened it.
            UserError: There is no such stream; no stream has advanced.
        """
        given = {stream: self._stream(stream) for stream in blocks}
        for block in blocks.values():
            check_block(block)
        for number, stream in given.items():
            stream.push(blocks[number])
        self._advance(given)
        return {number: stream.pull() for number, stream in given.items()}

    def flush(self, stream: int) -> Float32Array:
        """End and remove a stream. `flush_all` ends several together.

        Args:
            stream: Its number.

        Returns:
            [m] float32: its remaining samples; as many came out as went in.

        Raises:
            UserError: There is no such stream.
        """
        return self.flush_all([stream])[stream]

    def flush_all(self, streams: Sequence[int] | None = None) -> dict[int, Float32Array]:
        """End and remove streams, in one batch.

        Args:
            streams: Their numbers; None is all.

        Returns:
            By stream, [m] float32: its remaining samples.

        Raises:
            UserError: There is no such stream; none has ended.
        """
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
        """Remove a stream without its remaining samples.

        Args:
            stream: Its number.

        Raises:
            UserError: There is no such stream.
        """
        self._stream(stream)
        del self._streams[stream]
        self._parked.pop(stream, None)

    def replaced_samples(self, stream: int) -> int:
        """How many samples of a stream were not finite and became 0.

        Args:
            stream: Its number.

        Returns:
            A count.

        Raises:
            UserError: There is no such stream.
        """
        return self._stream(stream).replaced_samples

    def failed_calls(self, stream: int) -> int:
        """How many calls of the network gave NaN or infinity: silence, and a new beginning.

        The other streams are as if that had not happened.

        Args:
            stream: Its number.

        Returns:
            A count.

        Raises:
            UserError: There is no such stream.
        """
        return self._stream(stream).failed_calls

    def limited_calls(self, stream: int) -> int:
        """How many calls got less than was given: it was louder than the precision holds.

        Args:
            stream: Its number.

        Returns:
            A count.

        Raises:
            UserError: There is no such stream.
        """
        return self._stream(stream).limited_calls

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
        """The sample rate of blocks, in Hz."""
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
        self.require_own_process()
        while ready := [number for number, stream in streams.items() if stream.ready]:
            self._seat(ready)
            rows = [self._streams[number] for number in self._rows]
            failed, limited = advance(self._session, rows)
            self.all_failed_calls += failed
            self.all_limited_calls += limited

    def _seat(self, ready: list[int]) -> None:
        """Assign the first rows of the session to the streams that are ready."""
        wanted, held = set(ready), self._rows
        if wanted == set(held):
            return
        rows = [number if number in wanted else None for number in held[: len(ready)]]
        rows += [None] * (len(ready) - len(rows))
        staying = set(rows)
        arriving = (number for number in ready if number not in staying)
        if not self._fixed_rows:
            self._session.resize(max(len(held), len(ready)))
        with self._session.editing() as states:
            for row, number in enumerate(held):
                if number in self._streams and number not in staying:
                    self._parked[number] = [state[row].copy() for state in states]
            for row, occupant in enumerate(rows):
                if occupant is None:
                    rows[row] = number = next(arriving)
                    own = self._parked.pop(number, self._initial)
                    for state, value in zip(states, own, strict=True):
                        state[row] = value
        if not self._fixed_rows:
            self._session.resize(len(ready))
        self._rows = [number for number in rows if number is not None]
