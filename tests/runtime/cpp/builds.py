"""Builds of libfrcrn by the Makefile: its own, with sanitizers, for other processors."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CROSS = ("aarch64-linux-gnu-g++", "qemu-aarch64-static")


def make(target: str, folder: str, cross: bool = False) -> Path:
    """The folder that `make TARGET` builds into, made where it is out of date.

    Without what it is built with, the test is skipped.

    Args:
        target: Of the Makefile.
        folder: Below build/.
        cross: Whether it is for 64-bit ARM.
    """
    for tool in ("make", "c++", "cmake", *(CROSS if cross else ())):
        if shutil.which(tool) is None:
            pytest.skip(f"needs a C++ compiler: no {tool} here")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    own["PYTHON"] = sys.executable  # has pip
    with (build / "cpp.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the processes of a test run builds
        for script in ("dependencies", *(["dependencies-aarch64"] if cross else [])):
            got = subprocess.run(
                [ROOT / "runtime/cpp" / script], env=own, capture_output=True, text=True
            )
            if got.returncode:
                pytest.skip(f"needs what libfrcrn is built with: {got.stderr.strip()}")
        run("make", target, environment=own)
    return build / folder


def run(
    *command: object, environment: Mapping[str, str] | None = None, data: bytes | None = None
) -> bytes:
    """Standard output of a program that must succeed."""
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, input=data, capture_output=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout
