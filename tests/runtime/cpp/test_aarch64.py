"""libfrcrn and its tool for 64-bit ARM, cross-built and run by qemu, against Python here."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.exporters.assets import ASSETS, DEMO_NOISY
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.runtime.cpp.builds import ROOT, make, run

pytestmark = [pytest.mark.slow, pytest.mark.longest]

QEMU = "qemu-aarch64-static"
# Another order of sums; seen: 127 dB.
FLOOR_DB = 100


@pytest.fixture(scope="module")
def aarch64() -> Path:
    """The build, whose unit tests have passed."""
    return make("cpp-aarch64", "cpp-aarch64", cross=True)


def frcrn(build: Path, *words: object, data: bytes | None = None) -> bytes:
    """The tool's standard output."""
    libraries = ROOT / "build/aarch64"
    environment = {**os.environ, "FRCRN_ONNXRUNTIME": str(libraries / "libonnxruntime.so.1")}
    emulated = (QEMU, "-L", libraries, build / "tool/frcrn")
    return run(*emulated, *words, environment=environment, data=data)


def clip(samples: int) -> np.ndarray:
    return soundfile.read(ASSETS / DEMO_NOISY, dtype="float32")[0][:samples]


def test_parity_vectors(aarch64: Path, default_bundle: Path) -> None:
    found = json.loads(frcrn(aarch64, "verify", default_bundle, "--json"))["parity"]
    assert {check["artifact"] for check in found} >= {"core.onnx", "core.streaming.onnx"}
    assert min(check["snr_db"] for check in found) >= FLOOR_DB


def test_a_recording(aarch64: Path, default_bundle: Path, tmp_path: Path) -> None:
    wave = clip(16_000)
    given, output = tmp_path / "given.wav", tmp_path / "output.wav"
    soundfile.write(given, wave, 16_000, "FLOAT")
    frcrn(aarch64, "denoise", default_bundle, given, output)
    expected = Denoiser.open(default_bundle)(wave)
    assert snr_db(expected, soundfile.read(output, dtype="float32")[0]) >= FLOOR_DB


def test_a_stream(aarch64: Path, default_bundle: Path) -> None:
    wave = clip(4_000)
    words = ("stream", default_bundle, "--format", "f32le", "--no-status")
    found = np.frombuffer(frcrn(aarch64, *words, data=wave.tobytes()), np.float32)
    denoiser = StreamingDenoiser.open(default_bundle)
    expected = np.concatenate([denoiser.process(wave), denoiser.flush()])
    assert snr_db(expected, found) >= FLOOR_DB


def test_a_package(aarch64: Path, tmp_path: Path) -> None:
    run("cpack", "--config", aarch64 / "CPackConfig.cmake", "-B", tmp_path)
    control = run("dpkg-deb", "--field", tmp_path / "frcrn_0.2.0_arm64.deb").decode()
    assert "Architecture: arm64" in control
    assert "libsoxr0" in control
    assert list(tmp_path.glob("frcrn-0.2.0-linux-aarch64.tar.gz"))
