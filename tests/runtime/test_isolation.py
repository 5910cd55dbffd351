"""The runtime alone: what it imports, and that it runs where torch and onnx cannot be imported."""

import subprocess
import sys
from pathlib import Path

from tests.bundles import STFT, manifest, write_bundle

# Makes `import torch` and `import onnx` fail as if they were not installed.
BLOCK = """
import sys

class Absent:
    names = {names!r}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
WITHOUT_TORCH = BLOCK.format(names={"torch", "onnx", "onnxscript", "safetensors", "matplotlib"})
WITHOUT_BACKENDS = BLOCK.format(names={"torch", "onnx", "onnxruntime"})


def run(code: str, *args: object) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_the_import_brings_no_backend() -> None:
    code = "import sys, frcrn_export.runtime; print(*sys.modules)"
    modules = {name.partition(".")[0] for name in run(code).split()}
    heavy = {"torch", "onnx", "onnxruntime", "soundfile", "soxr", "matplotlib", "rich", "click"}
    assert modules & heavy == set()
    assert "numpy" in modules


def test_audio_is_denoised_without_torch_and_onnx(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=STFT, level="active_rms"), gain=0.5)
    code = (
        WITHOUT_TORCH
        + """
import numpy as np
from frcrn_export.runtime import Denoiser
audio = np.sin(np.arange(48_000) * 0.02).astype(np.float32)
clean = Denoiser.open(sys.argv[1])(audio, sample_rate=48_000)
assert clean.shape == audio.shape
assert np.abs(clean[9_000:-9_000] - 0.5 * audio[9_000:-9_000]).max() < 1e-3
print("done")
"""
    )
    assert run(code, bundle) == "done\n"


def test_files_are_denoised_without_torch_and_onnx(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=STFT, level="active_rms"), gain=0.5)
    code = (
        WITHOUT_TORCH
        + """
import numpy as np, soundfile
from pathlib import Path
folder = Path(sys.argv[2])
soundfile.write(folder / "a.wav", np.sin(np.arange(44_100) * 0.02), 44_100)
from frcrn_export.exporters.cli import main
main(["denoise", sys.argv[1], str(folder / "a.wav"), "-o", str(folder / "b.wav")])
"""
    )
    assert "b.wav" in run(code, bundle, tmp_path).replace("\n", "")
    assert (tmp_path / "b.wav").is_file()


def test_without_a_backend_it_says_how_to_get_one(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    code = (
        WITHOUT_BACKENDS
        + """
from frcrn_export.runtime import BackendError, Denoiser
try:
    Denoiser.open(sys.argv[1])
except BackendError as error:
    print(error)
"""
    )
    assert run(code, bundle) == ('no backend is installed; run: pip install "frcrn-export[cpu]"\n')
