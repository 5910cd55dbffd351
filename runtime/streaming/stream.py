"""One stream around a network: its level, its transform, and its pending samples."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import vdot

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.attenuation import mix
from frcrn_export.runtime.audio.high_pass import HighPassFilter
from frcrn_export.runtime.audio.source import LARGEST_SAMPLE
from frcrn_export.runtime.errors import AudioError, UserError
from frcrn_export.runtime.streaming.level import StreamLevel
from frcrn_export.runtime.streaming.session import StreamSession
from frcrn_export.runtime.streaming.transforms import Transform

_FIRST_CAPACITY = 1024
# OpenBLAS shares sums of more values among threads, which wait busily afterwards.
_ONE_THREAD = 10_000


class Fifo:
    """A queue of float32 samples.

    Its memory grows to twice the largest content and is reused.
    """

    def __init__(self) -> None:
        self._buffer = np.empty(_FIRST_CAPACITY, np.float32)
        self._start = self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._start

    def write(self, samples: Float32Array) -> None:
        """Append [n]."""
        self.extend(len(samples))[:] = samples

    def extend(self, count: int) -> Float32Array:
        """Append `count` samples that the caller fills in before the next call."""
        if self._stop + count > len(self._buffer):
            self._make_room(count)
        self._stop += count
        return self._buffer[self._stop - count : self._stop]

    def read(self, count: int) -> Float32Array:
        """Remove the first `count` samples: a view that is valid until the next write."""
        if count > len(self):
            raise ValueError(f"{count} samples wanted, {len(self)} are there")
        view = self._buffer[self._start : self._start + count]
        self._start += count
        return view

    def clear(self) -> None:
        """Remove all samples."""
        self._start = self._stop = 0

    def _make_room(self, count: int) -> None:
        held = self._buffer[self._start : self._stop]
        wanted = len(held) + count
        if 2 * wanted > len(self._buffer):
            self._buffer = np.empty(2 * wanted, np.float32)
        self._buffer[: len(held)] = held
        self._start, self._stop = 0, len(held)


class Stream:
    """Everything about one stream but the network's states.

    `push` samples; while it is `ready`, `fill` a row of the network's input and `take` the row of
    its output; `pull` the finished samples. After `finish` it is ready until all have come out.
    """

    def __init__(
        self,
        transform: Transform,
        level: StreamLevel,
        restore_level: bool,
        noisy_share: float = 0.0,
        high_pass: HighPassFilter | None = None,
    ) -> None:
        """`noisy_share`: how much of the noisy signal stays, see `audio.attenuation`."""
        self.transform = transform
        self._level = level
        self._restore_level = restore_level
        self._noisy_share = noisy_share
        self._high_pass = high_pass
        self._input, self._gains, self._output = Fifo(), Fifo(), Fifo()
        self._noisy = Fifo()  # as the output is scaled; empty where none of it stays
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self.transform.reset()
        self._level.reset()
        if self._high_pass is not None:
            self._high_pass.reset()
        for fifo in (self._input, self._gains, self._noisy, self._output):
            fifo.clear()
        self.replaced_samples = 0
        self.failed_calls = 0  # of the network: outputs that were not finite
        self.limited_calls = 0  # inputs that were clipped to what its precision holds
        self.finished = False
        self._silence = 0  # samples after the last, in the remaining calls
        self._given = 0
        self._returned = 0

    def push(self, block: npt.NDArray[Any]) -> None:
        """Append samples [n]; NaN, infinity and samples beyond LARGEST_SAMPLE become 0."""
        if self.finished:
            raise UserError("this stream was flushed; call reset() before the next process()")
        check_block(block)
        samples = self._input.extend(len(block))
        with np.errstate(over="ignore"):  # a float64 may overflow to inf, which is replaced
            samples[:] = block
        self.replaced_samples += replace_unusable(samples)
        self._given += len(block)

    @property
    def ready(self) -> bool:
        """Whether there are samples for another call."""
        return len(self._input) >= self.transform.samples()

    def fill(self, row: Float32Array) -> None:
        """The input of the next call."""
        wave = self._input.read(self.transform.samples())
        if self._high_pass is not None:  # silence follows what it gives, as in recordings
            silent = min(len(wave), max(0, self._silence - len(self._input)))
            sound = wave[: len(wave) - silent]
            sound[:] = self._high_pass(sound[None])[0]
        gains = self._gains.extend(len(wave))
        self._level.gains(wave, gains)
        if self._noisy_share:
            self._noisy.write(wave if self._restore_level else wave * gains)
        wave *= gains
        self.transform.analyse(wave, row)

    def take(self, row: Float32Array) -> None:
        """The output of that call."""
        self._restore(self.transform.synthesise(row))

    def lose(self, row: Float32Array) -> None:
        """Give silence for that output, which is not finite; the network begins anew."""
        self.failed_calls += 1
        row[:] = 0
        self.take(row)
        self.transform.restart()

    def _restore(self, wave: Float32Array) -> None:
        gains = self._gains.read(len(wave))
        out = self._output.extend(len(wave))
        if self._restore_level:
            np.divide(wave, gains, out=out)
        else:
            out[:] = wave
        self._mix(out)

    def _mix(self, out: Float32Array) -> None:
        """What stays of the noisy signal, into the next samples of the output."""
        if self._noisy_share:
            out[:] = mix(self._noisy.read(len(out)), out, self._noisy_share)

    def pull(self) -> Float32Array:
        """The finished samples [n]; after `finish` all that remain."""
        count = len(self._output)
        if self.finished:
            if self._given:
                self._restore(self.transform.tail())
            count = self._given - self._returned
            beyond = self._output.extend(max(0, count - len(self._output)))
            beyond[:] = 0
            self._mix(beyond)
        self._returned += count
        return self._output.read(count).copy()

    def finish(self) -> None:
        """End the stream: silence follows its last sample in the remaining calls."""
        if self.finished:
            raise UserError("this stream was flushed already; call reset() before the next one")
        self.finished = True
        if self._given:
            needed = self.transform.total_samples(self.transform.calls(self._given))
            self._silence = max(0, needed - self._given)
            self._input.write(np.zeros(self._silence, np.float32))


def replace_unusable(samples: Float32Array) -> int:
    """Set NaN, infinity and samples beyond LARGEST_SAMPLE to 0, and return their number."""
    usable = np.abs(samples) <= LARGEST_SAMPLE  # False for NaN
    if usable.all():
        return 0
    samples[~usable] = 0
    return int(np.count_nonzero(~usable))


def check_block(block: npt.NDArray[Any]) -> None:
    """Raise AudioError for anything but an array [n] of floats; n may be 0."""
    if not isinstance(block, np.ndarray) or not np.issubdtype(block.dtype, np.floating):
        kind = block.dtype if isinstance(block, np.ndarray) else type(block).__name__
        raise AudioError(
            f"a block must be a NumPy array of floats in [-1, 1], got {kind}; "
            "16-bit samples: block.astype('float32') / 32768"
        )
    if block.ndim != 1:
        raise AudioError(
            f"a block must be mono, [n], got shape {list(block.shape)}; "
            "for several channels open a MultiStream and add() one stream for each"
        )


def advance(session: StreamSession, streams: Sequence[Stream]) -> tuple[int, int]:
    """One call of the network, for as many ready streams as the session has rows.

    What goes in is bounded to what the network's precision was verified for. A row whose output is
    not finite begins anew; the others are not touched. Returns how many rows of either kind there
    were, those that failed first.
    """
    for row, stream in enumerate(streams):
        if stream.transform.must_restart:
            session.reset([row])
            stream.transform.restart()
        stream.fill(session.inputs[row])
        session.ends[row] = stream.transform.end
    limit, given, limited = session.entry.input_limit, session.inputs, 0
    if limit is not None and _power(given) > limit * limit:
        limited = _limit(given, streams, limit)
    enhanced = session.run(given, session.ends)
    if isfinite(_power(enhanced)):
        for row, stream in enumerate(streams):
            stream.take(enhanced[row])
        return 0, limited
    lost = [row for row in range(len(streams)) if not np.isfinite(enhanced[row]).all()]
    session.reset(lost)
    for row, stream in enumerate(streams):
        (stream.lose if row in lost else stream.take)(enhanced[row])
    return len(lost), limited


def _power(rows: Float32Array) -> float:
    """The sum of squares, the cheapest look at all values: NaN and what is too loud show in it."""
    if rows.size > _ONE_THREAD:
        return sum(float(vdot(row, row)) for row in rows)
    return float(vdot(rows, rows))


def _limit(given: Float32Array, streams: Sequence[Stream], limit: float) -> int:
    """Bound the rows of the streams, and count those in which something was clipped."""
    rows = [row for row in range(len(streams)) if np.abs(given[row]).max() > limit]
    for row in rows:
        streams[row].limited_calls += 1
    np.clip(given, -limit, limit, out=given)
    return len(rows)
