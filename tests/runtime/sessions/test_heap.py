import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from frcrn_export.runtime.sessions.heap import _glibc

# Many freed blocks below one that is kept, which glibc does not return by itself.
CODE = """
import ctypes
from contextlib import nullcontext
from pathlib import Path
from frcrn_export.runtime.sessions.heap import large_blocks_returned

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
SIZE, COUNT = 2**17, 800
libc.free(libc.malloc(SIZE * 2))  # from now on blocks of this size are in the heap
with {context}():
    blocks = [libc.malloc(SIZE) for _ in range(COUNT)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks[:-1]:
        libc.free(block)
print(Path("/proc/self/status").read_text())
"""


def memory(context: str, **environment: str) -> float:
    """MiB of a process after it freed its blocks."""
    command = [sys.executable, "-c", CODE.replace("{context}", context)]
    env = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=env | environment
    )
    status = done.stdout
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


@pytest.mark.skipif(
    _glibc() is None or not Path("/proc/self/status").exists(), reason="needs glibc and Linux"
)
def test_freed_blocks_go_back_to_the_system() -> None:
    assert memory("large_blocks_returned") < memory("nullcontext") - 80


@pytest.mark.skipif(
    _glibc() is None or not Path("/proc/self/status").exists(), reason="needs glibc and Linux"
)
def test_limits_of_the_environment_stay() -> None:
    large = str(2**25)
    own = memory("large_blocks_returned", MALLOC_MMAP_THRESHOLD_=large)
    assert own > memory("large_blocks_returned") + 80


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from frcrn_export.runtime.sessions import heap

    monkeypatch.setattr(heap, "_glibc", lambda: None)
    with heap.large_blocks_returned():
        pass
