"""The tests through the C interface once more, on a build with AddressSanitizer and UBSan."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.cpp.conftest import ROOT

BUILD = ROOT / "build" / "cpp-asan"
TESTS = ("recordings", "streams", "batches", "live", "bad_input")


@pytest.mark.slow
def test_memory_is_used_as_it_may_be(cpp_build: Path) -> None:
    for arguments in (["--preset", "asan"], ["--build", "--preset", "asan", "--target", "frcrn"]):
        made = subprocess.run(
            ["cmake", *arguments], cwd=ROOT / "runtime/cpp", capture_output=True, text=True
        )
        assert made.returncode == 0, made.stdout + made.stderr
    sanitizers = [
        subprocess.run(
            ["c++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    files = [str(Path(__file__).with_name(f"test_{name}.py")) for name in TESTS]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={
            **os.environ,
            "FRCRN_LIBRARY": str(BUILD / "libfrcrn.so"),
            "LD_PRELOAD": " ".join(sanitizers),
            # Python itself frees little at its end; leaks are looked for by the tests in C++.
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-20_000:]
    assert "ERROR: AddressSanitizer" not in ran.stdout + ran.stderr
