"""Calls into ONNX Runtime that end: after a limit of time, or after Ctrl-C.

The graph of a bundle from somebody else may take any time, and Python looks at signals only between
its own instructions. One thread watches the calls in progress. ONNX Runtime can be stopped between
two operators, and between two steps of a Scan; not within an operator.
"""

import os
import threading
from collections.abc import Callable
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.onnx_errors import reason_of
from frcrn_export.runtime.text import shown

if TYPE_CHECKING:
    import onnxruntime

SECONDS_VARIABLE = "FRCRN_EXPORT_RUN_SECONDS"

# A run may take 60 s and 2 ms for each value of its input: at 16 kHz, 32 s a second of a waveform.
_RUN_SECONDS, _SECONDS_PER_VALUE = 60.0, 2e-3
# On a GPU, where TensorRT builds its engines at the first run of a shape.
_GPU_SECONDS = 3_600.0
# A run that would be over soon anyway finishes after Ctrl-C.
_GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.25
_FATAL = 4  # ONNX Runtime's log severity; errors reach us as exceptions


class _Call:
    """A call in progress for the time of its context."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = inf
        self.number = 0  # of this call, of one after another
        self.stopped = self.interrupted = False

    def stop(self) -> None:
        """Ask ONNX Runtime to end the call."""

    def __enter__(self) -> None:
        self.deadline = monotonic() + self.seconds
        self.interrupted = False
        self.number += 1
        _watch.add(self)

    def __exit__(self, *error: object) -> None:
        _watch.calls.discard(self)


class Opening(_Call):
    """A session that opens. Ctrl-C ends it between two optimizations of the graph."""

    def __init__(self, options: "onnxruntime.SessionOptions") -> None:
        super().__init__(inf)
        self._options = options

    def stop(self) -> None:
        if hasattr(self._options, "set_load_cancellation_flag"):  # since ONNX Runtime 1.21
            self._options.set_load_cancellation_flag(True)


class RunLimit(_Call):
    """The limit of runs, one after another, with inputs of one size.

    Args:
        name: Of the file and its backend, for errors.
        device: "cpu" or "cuda".
        values: The number of values of the input.

    Raises UserError for a FRCRN_EXPORT_RUN_SECONDS that is no number of seconds.
    """

    def __init__(self, name: str, device: str, values: int) -> None:
        import onnxruntime

        super().__init__(_limit(device, values))
        self._name = name
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _FATAL

    def stop(self) -> None:
        self._options.terminate = True

    def run(self, function: Callable[..., Any], *args: object) -> Any:
        """The result of a session's method, which takes run options last.

        Raises BackendError where the run failed or took longer than its limit, KeyboardInterrupt
        where Ctrl-C ended it.
        """
        try:
            with self:
                return function(*args, self._options)
        except Exception as error:  # ONNX Runtime's own exceptions share no other base
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> BaseException:
        stopped, self.stopped, self._options.terminate = self.stopped, False, False
        if self.interrupted:
            return KeyboardInterrupt()
        if stopped:
            return BackendError(
                f"{self._name} was stopped after {self.seconds:g} s, the limit of a run; if it is "
                f"as slow as that here, set {SECONDS_VARIABLE}={10 * self.seconds:g}"
            )
        return BackendError(f"{self._name} failed: {reason_of(error)}")


class _Watch:
    """Stops calls at their deadlines, in a thread that sleeps while there are none."""

    def __init__(self) -> None:
        self.calls: set[_Call] = set()
        self._some = threading.Event()
        self._process = 0

    def add(self, call: _Call) -> None:
        self.calls.add(call)
        if self._process != os.getpid():  # a child has no threads of its parent
            self._process, self._some = os.getpid(), threading.Event()
            threading.Thread(target=self._look, name="run limit", daemon=True).start()
        if not self._some.is_set():
            self._some.set()

    def _look(self) -> None:
        while self._some.wait():
            sleep(_LOOK_SECONDS)
            now = monotonic()
            for call in tuple(self.calls):
                if now > call.deadline and not call.stopped:
                    call.stopped = True
                    call.stop()
            if not self.calls:
                self._some.clear()
                if self.calls:  # added since, while it was set
                    self._some.set()


_watch = _Watch()


def interrupt_calls() -> Callable[[], bool]:
    """Let the calls in progress end soon, as after Ctrl-C. Returns whether one still goes on."""
    calls = [(call, call.number) for call in tuple(_watch.calls)]
    for call, _ in calls:
        call.interrupted = True
        call.deadline = min(call.deadline, monotonic() + _GRACE_SECONDS)
    return lambda: any(call in _watch.calls and call.number == number for call, number in calls)


def _limit(device: str, values: int) -> float:
    """Seconds that a run may take."""
    given = os.environ.get(SECONDS_VARIABLE)
    if not given:
        base = _RUN_SECONDS if device == "cpu" else _GPU_SECONDS
        return base + _SECONDS_PER_VALUE * values
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UserError(f"{SECONDS_VARIABLE}={shown(given)}: give a number of seconds above 0")
    return seconds
