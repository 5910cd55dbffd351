"""The builder's messages, by severity, and the reason of a failure in them."""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsInt, cast

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt

if TYPE_CHECKING:
    import tensorrt as trt


Severity = Literal["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"]

# "<where>: Error Code 4: API Usage Error (<why> In <function> at <file>:<line>)"
_ERROR_CODE = re.compile(r"Error Code \d+: (?P<kind>[^(]+?)\s*\((?P<why>.*)\)\s*$", re.DOTALL)
# "In <function> at <file>:<line>" at the end, "[<file>:<line>: <function>]" anywhere.
_SOURCE_PLACE = re.compile(r"\s*In [\w:~]+ at \S+:\d+\s*\)?\s*$|\[[\w.]+:\d+: \w+\] ?")
# Logged on machines without a driver after any other error.
_NOISE = ("catchCudaError", "BuildCanceled")


@dataclass(frozen=True)
class Message:
    """One message of the builder or the parser."""

    severity: Severity
    text: str


@dataclass(frozen=True)
class BuildLog:
    """The messages of one build, in order."""

    messages: Sequence[Message]

    def text(self) -> str:
        """The log as a text file."""
        return "".join(f"[{message.severity}] {message.text}\n" for message in self.messages)

    def starting(self, prefix: str) -> str | None:
        """The last message that starts with `prefix`, or None."""
        texts = (message.text for message in reversed(self.messages))
        return next((text for text in texts if text.startswith(prefix)), None)

    def number(self, label: str) -> int | None:
        """The number after "<label>: " in the last message that has it, or None."""
        found = re.findall(
            rf"^{re.escape(label)}: (\d+)", "\n".join(m.text for m in self.messages), re.M
        )
        return int(found[-1]) if found else None

    def reason(self) -> str:
        """The builder's own words for the first error, without its source files, in one line."""
        for message in self.messages:
            is_error = message.severity in ("ERROR", "INTERNAL_ERROR")
            if is_error and not any(noise in message.text for noise in _NOISE):
                return plain_reason(message.text)
        return "the builder gave no reason"


def plain_reason(text: str) -> str:
    """An error message of TensorRT in one line: kind and reason, without source locations."""
    first, *rest = text.splitlines() or [""]
    # The parser's first line only repeats the failed node's name.
    if first.startswith("Invalid Node") and rest:
        text = rest[0]
    if match := _ERROR_CODE.search(text):
        why = _SOURCE_PLACE.sub("", match["why"])
        kind = match["kind"]
        text = why if kind == "API Usage Error" else f"{kind}: {why}"
    return " ".join(text.split())


def recording_logger(backend: TensorrtBackend, messages: list[Message]) -> "trt.ILogger":
    """A logger of this backend that appends every message to `messages`."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(backend)

    class Recorder(trt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()  # without it the binding crashes

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            messages.append(Message(cast(Severity, severity.name), msg))

    return Recorder()


# Advice by a word in the reason; the first match counts.
_ADVICE = (
    ("workspace", "give more --workspace, or leave it out"),
    ("memory", "lower the maximum of --batch, --frames or --samples, or close other programs"),
    ("profile", "change --batch, --frames or --samples to what this network takes"),
    ("refit", "leave out --refittable"),
)
_OTHERWISE = "keep the builder's output with --log FILE"


class BuildError(BackendError):
    """A build failed. `log` is the builder's output."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


def parser_reason(parser: "trt.OnnxParser") -> str:
    """The parser's first error with the node it is about, in one line."""
    if parser.num_errors == 0:
        return "the parser gave no reason"
    get_error: Any = parser.get_error  # the binding declares no types for it
    error: trt.ParserError = get_error(0)
    node = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_name() else ""
    return node + plain_reason(error.desc())


def build_failure(source: Path, log: BuildLog) -> BuildError:
    """The error for a builder that returned no engine."""
    reason = log.reason()
    found = (advice for word, advice in _ADVICE if word in reason.lower())
    return BuildError(f"{source}: not built: {reason}; {next(found, _OTHERWISE)}", log.text())


# (phase, steps done, total steps); phases nest and follow the builder's order.
Progress = Callable[[str, int, int], None]


class BuildProgress:
    """Passes the builder's progress to a callback; any thread may cancel the build.

    An exception of the callback cancels the build and is kept in `failure`: it must not propagate
    through the builder.
    """

    def __init__(self, callback: Progress | None) -> None:
        self._callback = callback
        self._steps: dict[str, int] = {}
        self._cancelled = threading.Event()
        self.failure: Exception | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the build was cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Make the builder stop at its next step."""
        self._cancelled.set()

    def start(self, phase: str, steps: int) -> None:
        """A phase of `steps` steps begins."""
        self._steps[phase] = steps
        self._report(phase, 0)

    def step(self, phase: str, step: int) -> bool:
        """A step (counted from 0) is done. False tells the builder to stop."""
        self._report(phase, step + 1)
        return not self.cancelled

    def finish(self, phase: str) -> None:
        """A phase ended, whether or not all of its steps were done."""
        self._report(phase, self._steps.get(phase, 0))

    def _report(self, phase: str, done: int) -> None:
        if self._callback is None or self.cancelled:
            return
        try:
            self._callback(phase, done, self._steps.get(phase, done))
        except Exception as error:
            self.failure = error
            self.cancel()


def progress_monitor(backend: TensorrtBackend, progress: BuildProgress) -> "trt.IProgressMonitor":
    """A progress monitor of this backend that drives `progress`."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(backend)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()  # without it the binding crashes

        def phase_start(
            self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt
        ) -> None:
            progress.start(phase_name, int(num_steps))

        def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
            return progress.step(phase_name, int(step))

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
