"""Builds of libfrcrn by the Makefile: its own, with sanitizers, for other processors."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def make(target: str, folder: str, needed: tuple[str, ...], **variables: str) -> Path:
    """The folder that `make TARGET` builds into, made where it is out of date.

    Args:
        target: Of the Makefile.
        folder: Below build/.
        needed: Programs without which the test is skipped.
        **variables: Of make.
    """
    for tool in ("make", "c++", "cmake", *needed):
        if shutil.which(tool) is None:
            pytest.skip(f"needs a C++ compiler: no {tool} here")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    words = [f"{name}={value}" for name, value in variables.items()]
    with (build / f"{target}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the processes of a test run builds
        run("make", target, *words, environment=own)
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
