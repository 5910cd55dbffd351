"""The examples of runtime/cpp: built, run, and compared with Python."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.streaming_bundles import Core, write_streaming_bundle

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "runtime" / "cpp" / "examples"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "bundle"
    return write_streaming_bundle(path, Core(chunk=50, lookahead=30), stft=None, level="peak")


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def streamed(bundle: Path, wave: np.ndarray, limit: float | None = None) -> np.ndarray:
    stream = StreamingDenoiser.open(bundle, "onnxruntime-cpu", attenuation_limit=limit)
    return np.concatenate([stream.process(wave), stream.flush()])


def run(
    program: Path, *words: object, onnxruntime: Path, data: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "FRCRN_ONNXRUNTIME": str(onnxruntime)}
    command = [program, *map(str, words)]
    return subprocess.run(command, input=data, env=environment, capture_output=True, timeout=100)


def test_the_c_program(cpp_build: Path, bundle: Path, onnxruntime_library: Path) -> None:
    program, wave = cpp_build / "examples" / "denoise", noise(10_001)
    done = run(program, bundle, onnxruntime=onnxruntime_library, data=wave.tobytes())
    assert done.returncode == 0
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32), streamed(bundle, wave))
    for words, said in ((("/none",), b"/none"), ((), b"usage")):
        done = run(program, *words, onnxruntime=onnxruntime_library)
        assert done.returncode == 2
        assert said in done.stderr


def test_the_c_program_is_that_of_the_documentation() -> None:
    program = (EXAMPLES / "denoise.c").read_text()
    assert program.split("\n", 1)[1] in (ROOT / "docs" / "cpp.md").read_text()


def test_the_callback(cpp_build: Path, bundle: Path, onnxruntime_library: Path) -> None:
    """At the pace of a sound card; on a busy machine some samples may be late, and it says so."""
    program, wave = cpp_build / "examples" / "callback", noise(8_001)
    done = run(program, bundle, onnxruntime=onnxruntime_library, data=wave.tobytes())
    assert done.returncode == 0
    found = np.frombuffer(done.stdout, np.float32)
    assert found.shape == wave.shape
    (late,) = re.findall(rb", (\d+) samples late", done.stderr)
    # The callback never flushes: the end of the input is followed by silence.
    expected = streamed(bundle, np.concatenate([wave, np.zeros(200, np.float32)]), 24.0)[:8_001]
    if not int(late):
        np.testing.assert_array_equal(
            found[1_000:], expected[1_000:]
        )  # the limit came at the start


def test_a_project_of_its_own(
    cpp_build: Path, bundle: Path, onnxruntime_library: Path, tmp_path: Path
) -> None:
    prefix, build = tmp_path / "installed", tmp_path / "build"
    for command in (
        ("cmake", "--install", cpp_build, "--prefix", prefix),
        ("cmake", "-S", EXAMPLES / "installed", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}"),
        ("cmake", "--build", build),
    ):
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    done = run(build / "describe", bundle, onnxruntime=onnxruntime_library)
    assert done.stdout.startswith(b"gain: 16000 Hz, no recordings, streams; libfrcrn 0."), done
    assert run(build / "describe", "/none", onnxruntime=onnxruntime_library).returncode == 2
