"""What a failed build means to the user: the builder's own reason, and what to try."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from frcrn_export.engines.build_log import BuildLog, plain_reason
from frcrn_export.runtime.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

# What to try, by a word of the reason; the first one found counts.
_ADVICE = (
    ("workspace", "give more --workspace, or leave it out"),
    ("memory", "lower the maximum of --batch, --frames or --samples, or close other programs"),
    ("profile", "change --batch, --frames or --samples to what this network takes"),
    ("refit", "leave out --refittable"),
)
_OTHERWISE = "keep what the builder said with --log FILE"


class BuildError(BackendError):
    """A build failed. `log` is all that the builder said."""

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
