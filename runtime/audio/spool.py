"""Standard input and output, pipes and devices in place of files.

libsndfile reads a file more than once and corrects a header at the end, which no pipe allows: so
what comes is kept in a temporary file first, and what goes out is written there first.
"""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from frcrn_export.runtime.audio.formats import AudioFormat, written_suffixes
from frcrn_export.runtime.errors import AudioError, reason

STANDARD = Path("-")
MAX_SPOOLED_BYTES = 16 << 30
_COPY_BYTES = 1 << 20
_DESCRIPTORS = (Path("/dev/fd"), Path("/proc/self/fd"))
_STREAMS = (stat.S_ISFIFO, stat.S_ISCHR, stat.S_ISSOCK)


def is_stream(path: Path) -> bool:
    """Whether a path is standard input or output ("-"), a pipe or a device, and not a file."""
    if path == STANDARD or path.parent in _DESCRIPTORS or str(path).startswith("/dev/std"):
        return True  # even where it is a file by redirection: it is open already
    with suppress(OSError):
        mode = path.stat().st_mode
        return any(kind(mode) for kind in _STREAMS)
    return False


def suffix_like(like: AudioFormat) -> str:
    """The suffix whose container is that of a format; .wav where it is not written."""
    if like.subtype == "OPUS":
        return ".opus"
    container = {"WAVEX": "WAV", "OGG": "OGG"}.get(like.container, like.container)
    suffixes = [suffix for suffix, name in written_suffixes().items() if name == container]
    return ".ogg" if container == "OGG" else suffixes[0] if suffixes else ".wav"


@contextmanager
def spooled(path: Path) -> Iterator[Path]:
    """A file to read: the path itself, or a temporary file of all that a stream gives.

    Raises AudioError where the stream cannot be read, gives more than `MAX_SPOOLED_BYTES`, or the
    folder of temporary files (TMPDIR) has no room for it.
    """
    if not is_stream(path):
        yield path
        return
    with _temporary_folder() as folder:
        file = folder / "input"
        with _opened(path, "rb", sys.stdin, "input") as stream:
            _keep(stream, file, path)
        yield file


@contextmanager
def delivered(path: Path, suffix: str) -> Iterator[Path]:
    """A file to write: the path itself, or a temporary file that a stream gets once it is done.

    Raises AudioError where the stream cannot be written. A reader that has gone is no error.
    """
    if not is_stream(path):
        yield path
        return
    with _temporary_folder() as folder:
        file = folder / f"output{suffix}"
        yield file
        with file.open("rb") as source, _opened(path, "wb", sys.stdout, "output") as stream:
            try:
                while piece := source.read(_COPY_BYTES):
                    stream.write(piece)
                stream.flush()
            except BrokenPipeError:
                _forget(stream)
            except OSError as error:
                _forget(stream)
                raise AudioError(f"{path}: cannot be written ({reason(error)})") from error


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="frcrn-export-", ignore_cleanup_errors=True)
    except OSError as error:
        raise AudioError(f"no temporary file ({reason(error)}); {_MORE_ROOM}") from error
    with folder as name:
        yield Path(name)


_MORE_ROOM = "set TMPDIR to a folder with more room"


@contextmanager
def _opened(path: Path, mode: str, standard: TextIO | None, name: str) -> Iterator[BinaryIO]:
    """The bytes of a stream. Standard input and output stay open."""
    own = path == STANDARD or path == Path(f"/dev/std{name[:-3]}")
    if own and (standard is None or standard.isatty()):
        what = "closed" if standard is None else "a terminal"
        raise AudioError(f"standard {name} is {what}; use a pipe or a file")
    try:
        with nullcontext(standard.buffer) if own and standard else path.open(mode) as stream:
            yield stream  # type: ignore[misc]
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({reason(error)})") from error


def _keep(stream: BinaryIO, file: Path, path: Path) -> None:
    left = MAX_SPOOLED_BYTES
    try:
        with file.open("wb") as kept:
            while piece := stream.read(_COPY_BYTES):
                left -= len(piece)
                if left < 0:
                    raise AudioError(
                        f"{path}: more than {MAX_SPOOLED_BYTES >> 30} GiB came; give a file"
                    )
                kept.write(piece)
    except OSError as error:
        raise AudioError(f"{path}: cannot be kept ({reason(error)}); {_MORE_ROOM}") from error


def _forget(stream: BinaryIO) -> None:
    """Let what a stream still holds go nowhere, or Python reports an error at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
