"""Several files share the runs of one session: equal lengths go through the core in one batch.

A run begins when every file in progress waits for one. So the batches follow from the files and
their order alone, never from timing, and a run over the same files gives the same outputs.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from threading import Condition

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.session import Session


class RunStopped(Exception):
    """Raised in the thread of a file that waits, or goes on, when the whole run ends."""


class SharedRuns:
    """A session for up to `parallel` files at once, of `files` in all.

    Args:
        session: What runs the batches.
        rows: The most rows of one batch.
        values: The most frames or samples of one batch, over all its rows; bounds memory.
        parallel: How many files are in progress while enough are left.
        files: How many there are.
    """

    def __init__(
        self, session: Session, *, rows: int, values: int, parallel: int, files: int
    ) -> None:
        self.session = session
        self._rows, self._values = rows, values
        self._parallel, self._unfinished = parallel, files
        self._waiting: dict[int, Float32Array] = {}
        self._outputs: dict[int, Float32Array | BackendError] = {}
        self._error: Exception | None = None
        self._changed = Condition()

    def of_file(self, number: int) -> Session:
        """The session for one file; smaller numbers come first in a batch."""
        return _SessionOfFile(self, number)

    def run(self, number: int, inputs: Float32Array) -> Float32Array:
        """Wait for the batch that holds `inputs` [rows, ...], and return its part.

        Raises BackendError where the backend fails on these rows alone, and RunStopped.
        """
        with self._changed:
            self._waiting[number] = inputs
            self._run_when_all_wait()
            while number not in self._outputs:
                if self._error is not None:
                    raise self._error
                self._changed.wait()
            output = self._outputs.pop(number)
        if isinstance(output, BackendError):
            raise output
        return output

    def finish(self) -> None:
        """A file is done, or has failed: no further run of it comes."""
        with self._changed:
            self._unfinished -= 1
            self._run_when_all_wait()

    def stop(self) -> None:
        """End the waiting: some files will never begin."""
        with self._changed:
            self._error = self._error or RunStopped()
            self._changed.notify_all()

    def _run_when_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < min(self._parallel, self._unfinished):
            return
        alike = defaultdict[tuple[int, ...], list[int]](list)
        for number in sorted(self._waiting):
            alike[self._waiting[number].shape[1:]].append(number)
        try:
            for numbers in alike.values():
                for batch in self._batches(numbers):
                    self._run_batch(batch)
        except Exception as error:  # a defect: every thread gets it
            self._error = error
        self._waiting.clear()
        self._changed.notify_all()

    def _batches(self, numbers: list[int]) -> list[list[int]]:
        """Files cut into batches that keep the limits; a file's rows stay together."""
        batches: list[list[int]] = []
        filled = 0
        for number in numbers:
            rows = len(self._waiting[number])
            length = self._waiting[number].shape[-1]
            most = max(1, min(self._rows, self._values // length))
            if not batches or filled + rows > most:
                batches.append([])
                filled = 0
            batches[-1].append(number)
            filled += rows
        return batches

    def _run_batch(self, numbers: list[int]) -> None:
        inputs = [self._waiting[number] for number in numbers]
        try:
            output = self.session.run(np.concatenate(inputs))
        except BackendError as error:
            if len(numbers) == 1:
                self._outputs[numbers[0]] = error
            else:  # whose rows were they?
                for number in numbers:
                    self._run_batch([number])
            return
        rows = iter(output)
        for number, given in zip(numbers, inputs, strict=True):
            self._outputs[number] = np.stack(list(islice(rows, len(given))))


@dataclass(frozen=True)
class _SessionOfFile:
    """The shared session, as one file sees it."""

    shared: SharedRuns
    number: int

    @property
    def backend(self) -> str:
        return self.shared.session.backend

    @property
    def device(self) -> str:
        return self.shared.session.device

    @property
    def entry(self) -> FileEntry:
        return self.shared.session.entry

    def run(self, inputs: Float32Array) -> Float32Array:
        """As the shared session's, after a wait for the other files."""
        return self.shared.run(self.number, inputs)
