"""Samples that wait: written in pieces of one length, read in pieces of another."""

import numpy as np

from frcrn_export.runtime.arrays import Float32Array

_FIRST_CAPACITY = 1024


class Fifo:
    """A queue of float32 samples.

    Its memory grows to twice the most that ever waited, and is then used again and again.
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
        """Take the first `count` samples out: a view that holds until the next write."""
        if count > len(self):
            raise ValueError(f"{count} samples wanted, {len(self)} are there")
        view = self._buffer[self._start : self._start + count]
        self._start += count
        return view

    def clear(self) -> None:
        """Forget every sample."""
        self._start = self._stop = 0

    def _make_room(self, count: int) -> None:
        held = self._buffer[self._start : self._stop]
        wanted = len(held) + count
        if 2 * wanted > len(self._buffer):
            self._buffer = np.empty(2 * wanted, np.float32)
        self._buffer[: len(held)] = held
        self._start, self._stop = 0, len(held)
