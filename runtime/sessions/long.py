"""A session that runs long utterances with `core_long`, which needs less memory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.sessions.session import Session


@dataclass(frozen=True)
class SessionByLength:
    """The core, and a second session for `core_long` from the first long utterance on."""

    core: Session
    long_entry: FileEntry
    open_long: Callable[[], Session]

    @property
    def backend(self) -> str:
        return self.core.backend

    @property
    def device(self) -> str:
        return self.core.device

    @property
    def entry(self) -> FileEntry:
        return self.core.entry

    @cached_property
    def long(self) -> Session:
        """The session for long utterances, opened on first use."""
        return self.open_long()

    def run(self, inputs: Float32Array) -> Float32Array:
        """As the core; a single utterance of more frames than `above_frames` goes to `long`."""
        is_long = len(inputs) == 1 and inputs.shape[-1] > self.long_entry.above_frames
        return (self.long if is_long else self.core).run(inputs)
