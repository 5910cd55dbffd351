"""libfrcrn with sanitizers: its own tests, damaged files, a network, and the tests of Python."""

import os
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS
from tests.runtime.cpp.builds import make, run
from tests.runtime.cpp.test_damaged_files import check_readers

pytestmark = [pytest.mark.slow, pytest.mark.longest]

TESTS = ("recordings", "streams", "batches", "live", "bad_input", "engines")


@pytest.fixture(scope="module")
def build() -> Path:
    """The folder with the builds, whose unit tests have passed."""
    return make("cpp-sanitize", "")


@pytest.mark.parametrize("preset", ["asan", "tsan"])
def test_a_network_through_the_c_interface(
    preset: str, build: Path, default_bundle: Path, onnxruntime_library: Path
) -> None:
    environment = {
        **os.environ,
        "FRCRN_TEST_BUNDLE": str(default_bundle),
        "FRCRN_ONNXRUNTIME": str(onnxruntime_library),
    }
    run(build / f"cpp-{preset}/tests/frcrn_network_tests", environment=environment)


@pytest.mark.parametrize("reader", ["manifest", "npz", "onnx"])
def test_damaged_files(reader: str, build: Path, tmp_path: Path) -> None:
    check_readers(build / "cpp-asan/tests/frcrn_fuzz", reader, READERS[reader].seeds(tmp_path))


def test_what_python_tests_through_the_c_interface(build: Path) -> None:
    names = ("libasan.so", "libubsan.so")
    sanitizers = [run("c++", f"-print-file-name={name}").decode().strip() for name in names]
    environment = {
        **os.environ,
        "FRCRN_LIBRARY": str(build / "cpp-asan/libfrcrn.so"),
        "LD_PRELOAD": " ".join(sanitizers),
        # Python itself frees little at its end; leaks are looked for by the tests in C++.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    files = [Path(__file__).with_name(f"test_{name}.py") for name in TESTS]
    said = run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *files,
        environment=environment,
    )
    assert b"ERROR: AddressSanitizer" not in said
