"""Errors that the user sees as one line: what is wrong, with which value, and what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from frcrn_export.runtime.text import printable, shown

_LONGEST = 4_000  # characters of a message
# How native libraries say that memory ran out: ONNX Runtime, PyTorch, C++ itself.
_NO_MEMORY = ("Failed to allocate memory", "can't allocate memory", "bad_alloc", "bad allocation")


class FrcrnExportError(Exception):
    """Base of every error this package raises on purpose. Its message is fit for a terminal."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        # Cut at the end only: a cut in the middle would break the quotes of a command to paste.
        cut = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
        super().__init__(printable(cut))


class UserError(FrcrnExportError):
    """The input cannot be used; the message names the value and the next command."""

    exit_code = 2


class AudioError(UserError):
    """An audio file or array is empty, unreadable, not finite or of the wrong shape."""


class BundleError(UserError):
    """A bundle is missing a file, was altered, or its manifest cannot be read."""


class BackendError(UserError):
    """A backend is unknown, not installed, or cannot run this bundle here."""


class OutputError(BackendError):
    """A network's output for one recording cannot be used; others may be well."""


class CheckpointError(UserError):
    """A checkpoint is missing, truncated, unsafe to load, or belongs to another network."""


class CheckFailed(FrcrnExportError):
    """The input was valid, but a check (parity, quality, regression) missed its floor."""


@contextmanager
def reading(
    source: object,
    problem: str,
    remedy: str | Callable[[], str],
    kind: type[UserError] = BundleError,
) -> Iterator[None]:
    """Turn whatever a reader of untrusted input raises into one line.

    The bytes decide what a reader raises, so no list of exceptions is complete. Raises `kind`:
    "SOURCE: PROBLEM (reason); REMEDY". A remedy that is costly to compute may be a function. Our
    own errors and missing packages pass unchanged.
    """
    try:
        yield
    except (FrcrnExportError, ModuleNotFoundError):
        raise
    except Exception as error:
        advice = remedy if isinstance(remedy, str) else remedy()
        raise kind(f"{shown(source, 4096)}: {problem} ({reason(error)}); {advice}") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in Python or in a library."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def reason(error: BaseException) -> str:
    """Why something failed, in a few words; the message of our own errors."""
    if isinstance(error, FrcrnExportError):
        return str(error)
    if out_of_memory(error):
        return "it needs more memory than there is"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "a name that is not UTF-8: rename it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shown(" ".join(str(error).split()) or type(error).__name__)
