"""The runtime alone: what it imports, and that it runs where only what it declares is installed."""

import os
import subprocess
import sys
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import frcrn_export
import frcrn_export.runtime
from tests.bundles import STFT, manifest, write_bundle


def installed_with(name: str, extras: set[str]) -> set[str]:
    """The names of a distribution and of all it needs with these extras."""
    names = {name}
    for line in distribution(name).requires or []:
        needed = Requirement(line)
        wanted = any(
            needed.marker is None or needed.marker.evaluate({"extra": extra})
            for extra in extras | {""}
        )
        if wanted:
            names |= installed_with(needed.name, needed.extras)
    return names


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the site-packages that `pip install "frcrn-export[cpu]"` (or gpu) makes."""
    folder = tmp_path_factory.mktemp("site-packages")
    installed = {found.name for found in distributions()}
    extra = "gpu" if "onnxruntime-gpu" in installed else "cpu"
    for name in installed_with("frcrn-export", {extra}) - {"frcrn-export"}:
        found = distribution(name)
        for part in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (folder / part).exists():
                (folder / part).symlink_to(Path(str(found.locate_file(part))))
    (folder / "frcrn_export").mkdir()
    face = sorted(Path(frcrn_export.__path__[0]).glob("*.py"))
    for path in (*face, Path(frcrn_export.runtime.__path__[0])):
        (folder / "frcrn_export" / path.name).symlink_to(path)
    return folder


def run(site_packages: Path, code: str, *args: object) -> str:
    """What a fresh interpreter prints that sees nothing but this folder."""
    result = subprocess.run(
        [sys.executable, "-S", "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(site_packages)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_the_import_brings_numpy_alone(site_packages: Path) -> None:
    code = "import sys, frcrn_export.runtime; print(*sys.modules)"
    modules = {name.partition(".")[0] for name in run(site_packages, code).split()}
    declared = {"onnxruntime", "soundfile", "soxr", "rich", "click"}
    assert modules & declared == set()
    assert {"numpy", "msgspec"} <= modules


def test_the_environment_lacks_what_exporters_need(site_packages: Path) -> None:
    code = """
from importlib.util import find_spec
absent = ("torch", "onnx", "safetensors", "matplotlib", "pytest")
print([name for name in absent if find_spec(name)])
"""
    assert run(site_packages, code) == "[]\n"


def test_audio_is_denoised(site_packages: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=STFT, level="active_rms"), gain=0.5)
    code = """
import sys
import numpy as np
from frcrn_export.runtime import Denoiser
audio = np.sin(np.arange(48_000) * 0.02).astype(np.float32)
clean = Denoiser.open(sys.argv[1])(audio, sample_rate=48_000)
assert clean.shape == audio.shape
assert np.abs(clean[9_000:-9_000] - 0.5 * audio[9_000:-9_000]).max() < 1e-3
print("done")
"""
    assert run(site_packages, code, bundle) == "done\n"


def test_files_are_denoised_from_the_command_line(site_packages: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=STFT, level="active_rms"), gain=0.5)
    code = """
import sys
from pathlib import Path
import numpy as np, soundfile
folder = Path(sys.argv[2])
soundfile.write(folder / "a.flac", np.sin(np.arange(44_100) * 0.02), 44_100)
from frcrn_export.cli import main
main(["denoise", sys.argv[1], str(folder / "a.flac"), "-o", str(folder / "b.flac"), "--json"])
"""
    assert "b.flac" in run(site_packages, code, bundle, tmp_path)
    assert (tmp_path / "b.flac").is_file()


def test_without_a_backend_it_says_how_to_get_one(site_packages: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    code = """
import sys
sys.modules["onnxruntime"] = None  # makes `import onnxruntime` fail
from frcrn_export.runtime import BackendError, Denoiser
try:
    Denoiser.open(sys.argv[1])
except BackendError as error:
    print(error)
"""
    said = run(site_packages, code, bundle)
    assert said == 'no backend is installed; run: pip install "frcrn-export[cpu]"\n'
