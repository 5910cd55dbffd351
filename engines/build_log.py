"""What the builder says: kept by severity, and the reason of a failure found in it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from frcrn_export.runtime.bundle.manifest import Flavor
from frcrn_export.runtime.sessions.tensorrt_backends import load_flavor

if TYPE_CHECKING:
    import tensorrt as trt

Severity = Literal["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"]

# "<where>: Error Code 4: API Usage Error (<why> In <function> at <file>:<line>)"
_ERROR_CODE = re.compile(r"Error Code \d+: (?P<kind>[^(]+?)\s*\((?P<why>.*)\)\s*$", re.DOTALL)
# "In <function> at <file>:<line>" at the end, "[<file>:<line>: <function>]" anywhere.
_SOURCE_PLACE = re.compile(r"\s*In [\w:~]+ at \S+:\d+\s*\)?\s*$|\[[\w.]+:\d+: \w+\] ?")
# Said on machines without a driver after any other error.
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
    """An error message of TensorRT in one line: its kind and why, without source places."""
    first, *rest = text.splitlines() or [""]
    # The parser repeats the failed node's name in a first line of its own.
    if first.startswith("Invalid Node") and rest:
        text = rest[0]
    if match := _ERROR_CODE.search(text):
        why = _SOURCE_PLACE.sub("", match["why"])
        kind = match["kind"]
        text = why if kind == "API Usage Error" else f"{kind}: {why}"
    return " ".join(text.split())


def recording_logger(flavor: Flavor, messages: list[Message]) -> "trt.ILogger":
    """A logger of this flavour that appends all it is told to `messages`."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_flavor(flavor)

    class Recorder(trt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()  # without it the binding crashes

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            messages.append(Message(cast(Severity, severity.name), msg))

    return Recorder()
