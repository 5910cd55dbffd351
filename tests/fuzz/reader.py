"""What every reader has: files that are right, mutations, and commands that read."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from frcrn_export import cli
from tests.fuzz.mutations import BYTES, Mutation

RATE = 16_000
# Reads bytes in a folder; raises AssertionError for what must not happen.
Read = Callable[[Path, bytes], None]


@dataclass(frozen=True)
class Reader:
    """`seeds` are right; `read` gets them mutated by one of `mutations`."""

    seeds: Callable[[Path], list[bytes]]
    mutations: tuple[Mutation, ...]
    read: Read

    def mutated(self, random: Random, seeds: list[bytes]) -> bytes:
        """One of the seeds, damaged. Mutations that do not apply leave it as it is."""
        data = random.choice(seeds)
        for _ in range(random.choice((1, 1, 1, 2))):
            try:
                data = random.choice(self.mutations)(random, data)
            except Exception:  # not JSON or not an archive any more: then bytes are changed
                data = random.choice(BYTES)(random, data) if data else b""
        return data


def command(*args: object, stdin: bytes = b"") -> None:
    """Run a command; it must end in a result, or in one line that a terminal can show."""
    said, stdin_before = io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    code: object = 0
    try:
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())), redirect_stderr(said):
            cli.main([str(arg) for arg in args])
    except SystemExit as left:
        code = left.code
    finally:
        sys.stdin = stdin_before
    lines = said.getvalue().splitlines()
    errors = [line for line in lines if line.startswith(("error:", "unexpected"))]
    assert code in (None, 0, 1, 2), (code, lines)
    assert not any(line.startswith(("unexpected", "Traceback")) for line in lines), lines
    assert all(line.isprintable() and len(line) < 5_000 for line in lines), lines
    assert len(errors) <= 1, lines


def noise(frames: int = 4_000) -> "np.ndarray":
    return (np.random.default_rng(0).standard_normal(frames) / 20).astype(np.float32)


def recording(folder: Path) -> Path:
    import soundfile

    path = folder / "a.wav"
    if not path.exists():
        soundfile.write(path, noise(), RATE)
    return path
