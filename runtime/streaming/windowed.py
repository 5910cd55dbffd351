"""Streams for networks that cannot stream: overlapping windows, each computed as a whole.

Every `stride` samples the last `length` samples go through the offline core. The `stride` output
samples that end `right` samples before the window's end are kept: they have `right` samples of
look-ahead and the rest of the window as context. A cross-fade of `fade` samples joins them to the
previous window. Windows that begin before the stream hold silence there.

The delay is stride + right samples, and each sample goes through the network length / stride times.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.framing import padding_samples, whole_hops
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry, Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import onnx_command
from frcrn_export.runtime.denoiser import rows_at_once, wave_function
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.sessions.session import Session
from frcrn_export.runtime.streaming.transforms import Latency, StateArray

_OVERLAP = 4  # windows that cover each sample
_RIGHT_SHARE = 8  # of the window is look-ahead, where the manifest does not say how much to drop
_DEFAULT_SECONDS, _LONGEST_SECONDS = 1, 60
_LEVEL_SECONDS = 0.02  # from one gain to the next


@dataclass(frozen=True)
class Windows:
    """The windows of a stream, in samples. `fade` is at most `right`."""

    length: int
    stride: int
    right: int
    fade: int

    @property
    def latency(self) -> Latency:
        """The delay and the cost."""
        return Latency(self.stride, 0, self.right, self.length / self.stride)


def windows_for(manifest: Manifest, entry: FileEntry, seconds: float | None) -> Windows:
    """The windows of a core, `seconds` long; None: 1 s, the least it needs, or its fixed length.

    The stride is a quarter of the window. Raises UserError where the core does not take the length,
    or the length is too short for the part dropped at its end.
    """
    rate, fixed = manifest.sample_rate, entry.inputs[0].shape[-1]
    dropped = manifest.segments.right
    if seconds is not None and not 0 < seconds <= _LONGEST_SECONDS:
        raise UserError(f"a window of {seconds} s; give more than 0, at most {_LONGEST_SECONDS}")
    if not isinstance(fixed, int):
        wanted = max(_DEFAULT_SECONDS * rate, 2 * dropped) if seconds is None else seconds * rate
        length = _whole(ceil(wanted), manifest)
    elif seconds in (None, fixed / rate):
        length = fixed
    else:
        raise UserError(
            f"{manifest.model} takes windows of {fixed / rate:g} s alone, not {seconds:g}; "
            "leave the length out: windowed=True (--windowed)"
        )
    right = dropped or length // _RIGHT_SHARE
    if length < 2 * right and length == fixed:
        raise UserError(
            f"{manifest.model} takes windows of {length / rate:g} s and drops {right / rate:g} s "
            "at their end: too much to stream in windows; leave out windowed (--windowed)"
        )
    if length < 2 * right:
        raise UserError(
            f"a window of {seconds:g} s is too short for {manifest.model}; "
            f"give at least {2 * right / rate:g}"
        )
    return Windows(length, max(1, length // _OVERLAP), right, right // 2)


def _whole(samples: int, manifest: Manifest) -> int:
    """The next length that the network takes: whole STFT frames, or whole hops.

    Windows begin at whole hops too: strided convolutions are invariant to no other shift.
    """
    if manifest.stft is None:
        multiple = _OVERLAP * (manifest.padding.size if manifest.padding.rule == "multiple" else 1)
        return ceil(samples / multiple) * multiple
    return samples + padding_samples(samples, whole_hops(manifest.stft))


class WindowTransform:
    """One stream cut into windows; as `transforms.Transform`, a row is a window [length]."""

    def __init__(self, windows: Windows, sample_rate: int) -> None:
        self.latency = windows.latency
        self.gain_interval = round(_LEVEL_SECONDS * sample_rate)
        self._windows = windows
        self._window = np.zeros(windows.length, np.float32)
        self._fading = np.zeros(windows.fade, np.float32)  # the previous window's samples there
        self._rise = (np.arange(windows.fade, dtype=np.float32) + 0.5) / max(1, windows.fade)
        self.reset()

    def reset(self) -> None:
        self._window[:] = 0
        self._fading[:] = 0
        self._meaningless = self._windows.right

    @property
    def end(self) -> float:
        return UNKNOWN_END

    @property
    def must_restart(self) -> bool:
        return False

    def restart(self) -> None:
        pass  # the network keeps nothing from window to window

    def samples(self) -> int:
        return self._windows.stride

    def calls(self, samples: int) -> int:
        return ceil((samples + self._windows.right) / self._windows.stride)

    def total_samples(self, calls: int) -> int:
        return calls * self._windows.stride

    def analyse(self, wave: Float32Array, row: Float32Array) -> None:
        stride = self._windows.stride
        self._window[:-stride] = self._window[stride:]
        self._window[-stride:] = wave
        row[:] = self._window

    def synthesise(self, row: Float32Array) -> Float32Array:
        fade, stop = self._windows.fade, self._windows.length - self._windows.right
        kept = row[stop - self._windows.stride : stop]
        kept[:fade] = self._fading + self._rise * (kept[:fade] - self._fading)
        self._fading[:] = row[stop : stop + fade]
        dropped = min(self._meaningless, len(kept))
        self._meaningless -= dropped
        return kept[dropped:]

    def tail(self) -> Float32Array:
        return np.empty(0, np.float32)


class WindowSession:
    """An offline core run on windows [B, length]; a `session.StreamSession` without states."""

    def __init__(self, session: Session, manifest: Manifest, length: int) -> None:
        self.backend, self.device, self.entry = session.backend, session.device, session.entry
        self._function = wave_function(session, manifest)
        self._at_once = rows_at_once(session)
        self._length = length
        self.resize(1)

    def run(self, inputs: Float32Array, ends: Float32Array) -> Float32Array:
        starts = range(0, len(inputs), self._at_once)
        rows = [self._function(inputs[start : start + self._at_once]) for start in starts]
        return np.concatenate(rows)

    def reset(self, rows: Sequence[int] | None = None) -> None:
        pass

    def states(self) -> list[StateArray]:
        return []

    def load(self, states: Sequence[StateArray], batch: int) -> None:
        self.resize(batch)

    @contextmanager
    def editing(self) -> Iterator[list[StateArray]]:
        yield []

    def resize(self, batch: int) -> None:
        self.inputs = np.zeros((batch, self._length), np.float32)
        self.ends = np.zeros(batch, np.float32)

    def initial_states(self) -> list[StateArray]:
        return []


def open_windowed(
    bundle: Bundle,
    backend: str,
    threads: int | None,
    seconds: float | None,
    precision: Precision | None = None,
) -> tuple[WindowSession, Windows]:
    """Open a bundle's offline core for windows. Raises BackendError, UserError."""
    session = open_session(bundle, backend, threads, precision)
    if session.entry.role == "pipeline":
        raise BackendError(
            f"{session.entry.path} finds its level by itself, so its windows do not fit together; "
            f"export the core: {onnx_command(bundle.manifest)}"
        )
    windows = windows_for(bundle.manifest, session.entry, seconds)
    return WindowSession(session, bundle.manifest, windows.length), windows
