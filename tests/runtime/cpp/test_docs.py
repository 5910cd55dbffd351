"""docs/cpp.md: its programs are compiled and run as it says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.bundles import STFT
from tests.runtime.cpp.builds import ROOT
from tests.runtime.cpp.test_recordings import noise, same
from tests.streaming_bundles import Core, write_streaming_bundle

TEXT = (ROOT / "docs" / "cpp.md").read_text()
PROGRAM, CALLBACK = re.findall(r"```c\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def installed(cpp_build: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which libfrcrn is installed."""
    prefix = tmp_path_factory.mktemp("installed")
    command = ["cmake", "--install", str(cpp_build), "--prefix", str(prefix)]
    subprocess.run(command, check=True, capture_output=True)
    (library,) = {path.parent for path in prefix.rglob("libfrcrn.so")}
    return {
        **os.environ,
        "PKG_CONFIG_PATH": str(library / "pkgconfig"),
        "LD_LIBRARY_PATH": str(library),
    }


def test_the_program_of_the_first_five_minutes(
    installed: dict[str, str], onnxruntime_library: Path, tmp_path: Path
) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("needs a C++ compiler: no pkg-config here")
    (tmp_path / "denoise.c").write_text(PROGRAM)
    (command,) = re.findall(r"^cc denoise\.c .*$", TEXT, re.M)
    command += " -Wall -Wextra -Werror -std=c99"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=installed, check=True)
    bundle = write_streaming_bundle(tmp_path / "wave", Core("delay", 2, 5), STFT, "active_rms")
    wave = noise(20_000)
    ran = subprocess.run(
        ["./denoise", "wave"],
        cwd=tmp_path,
        env={**installed, "FRCRN_ONNXRUNTIME": str(onnxruntime_library)},
        input=wave.tobytes(),
        capture_output=True,
        check=True,
    )
    python = StreamingDenoiser.open(bundle, "onnxruntime-cpu")
    expected = np.concatenate([python.process(wave), python.flush()])
    same(np.frombuffer(ran.stdout, np.float32), expected)
    failed = subprocess.run(
        ["./denoise", "none"], cwd=tmp_path, env=installed, capture_output=True, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.strip()
    assert not failed.stdout


def test_the_callback_compiles(installed: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "callback.c"
    source.write_text(
        "#include <frcrn.h>\n"
        "void run(frcrn_stream *stream, const float *in, float *out, size_t n) {\n"
        f"    frcrn_live *live;\n    frcrn_error error;\n{CALLBACK}}}\n"
    )
    command = "cc -c callback.c -Wall -Wextra -Werror $(pkg-config --cflags frcrn)"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=installed, check=True)
    as_cpp = command.replace("cc -c", "c++ -x c++ -std=c++17 -c")
    subprocess.run(["bash", "-c", as_cpp], cwd=tmp_path, env=installed, check=True)
