"""Memory that a library frees while it loads a file, returned to the system."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of glibc's mallopt, and what its own adjustment of them ends at.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST_IN_HEAP = 32 * 2**20  # bytes
_LARGE = 64 * 2**10  # bytes


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """Within it, blocks of 64 KiB and more are returned to the system as soon as they are freed.

    ONNX Runtime lays weights out anew and frees the file's: glibc would keep these in its heap, as
    gaps that later, larger tensors do not fit. Other C libraries are left alone, and so are
    limits that the environment sets.
    """
    library = _glibc()
    if library is None or _set_by_the_user():
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _MOST_IN_HEAP)
        library.mallopt(_TRIM_THRESHOLD, 2 * _MOST_IN_HEAP)
        library.malloc_trim(0)


def _set_by_the_user() -> bool:
    """As glibc reads them at the start of a program; what is set here would replace them."""
    return (
        "MALLOC_MMAP_THRESHOLD_" in os.environ
        or "MALLOC_TRIM_THRESHOLD_" in os.environ
        or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    )


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018
    except (OSError, TypeError, AttributeError):  # TypeError: Windows has no library of all names
        return None
    return library
