"""Errors of ONNX Runtime as one line: its own reason, and the next command."""

import re
from importlib.metadata import PackageNotFoundError, version

from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import make_again
from frcrn_export.runtime.errors import out_of_memory, reason
from frcrn_export.runtime.text import shown

# What ONNX Runtime puts before the reason: a code, the file, the place in its source.
_BEFORE_REASON = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?"
    r"|(?:[A-Z]:)?[\\/]\S+\.(?:cc|h):\d+ [^()]*\([^)]*\)(?: const)? "
)
_TOO_OLD = re.compile(r"Unsupported model IR version|official support for domain .* is till opset")


def reason_of(error: BaseException) -> str:
    """ONNX Runtime's own reason in an error, without the place in its source code."""
    if out_of_memory(error):
        return reason(error)
    whole = " ".join(str(error).split())
    return shown(_BEFORE_REASON.sub("", whole) or whole or type(error).__name__)


def what_to_do(bundle: Bundle, entry: FileEntry, why: str) -> str:
    """The next command where a file does not load: a newer ONNX Runtime, or the file again."""
    import onnxruntime

    if _TOO_OLD.search(why) or _is_older(onnxruntime.__version__, entry.min_onnxruntime):
        return f"run: pip install --upgrade {_package()}"
    again = make_again(bundle.path, bundle.manifest, entry)
    return f"run: {again}, or see what can run here: frcrn-export doctor"


def _is_older(found: str, least: str | None) -> bool:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)[:2]]

    return least is not None and numbers(found) < numbers(least)


def _package() -> str:
    """The package that ONNX Runtime is installed from."""
    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return "onnxruntime"
    return "onnxruntime-gpu"
