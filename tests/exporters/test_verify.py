import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from frcrn_export.cli import main
from frcrn_export.exporters.verify import load_reference, verify
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError, BundleError, UserError
from tests.bundles import compared_files, write_manifest


@pytest.fixture
def foreign_bundle(wave_unet_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of a model that no family here knows."""
    path = tmp_path / "foreign"
    shutil.copytree(wave_unet_bundle, path)
    manifest = open_bundle(path).manifest
    write_manifest(path, msgspec.structs.replace(manifest, model="gru-mask-48k"))
    return path


def test_a_model_that_is_not_registered_is_verified_from_its_vectors(
    foreign_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = verify(foreign_bundle)
    assert report.results
    assert all(result.passed for result in report.results)
    assert not report.reference
    assert not any(result.case.startswith("reference.") for result in report.results)
    with pytest.raises(SystemExit) as left:
        main(["verify", str(foreign_bundle)])
    assert not left.value.code
    shown = capsys.readouterr().out
    assert (
        "Not compared with the reference network: the model gru-mask-48k is not registered here"
        in shown
    )


def test_what_needs_the_network_says_that_it_is_not_registered(foreign_bundle: Path) -> None:
    with pytest.raises(UserError, match=r"fp16 is missing, and the model gru-mask-48k is not"):
        load_reference(open_bundle(foreign_bundle).manifest, None, "fp16 is missing", "")


def test_an_altered_vector_still_fails(foreign_bundle: Path) -> None:
    manifest = json.loads((foreign_bundle / MANIFEST_NAME).read_bytes())
    assert manifest["model"] == "gru-mask-48k"
    (foreign_bundle / "core.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"core\.onnx"):
        verify(foreign_bundle)


def test_the_vectors_need_no_torch(wave_unet_bundle: Path) -> None:
    code = (
        "import sys, importlib.util as util; sys.modules['torch'] = None\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from frcrn_export.cli import main; main(sys.argv[1:])"
    )
    words = ("verify", wave_unet_bundle, "--backend", "onnxruntime-cpu")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Not compared with the reference network: torch is not installed." in done.stdout


def test_the_report(wave_unet_bundle: Path) -> None:
    told: list[str] = []
    report = verify(open_bundle(wave_unet_bundle), progress=told.append)
    assert report.passed
    assert report.reference
    assert compared_files(report.results) == {"core.onnx"}
    assert report.unchecked == ("core.pt",)  # TorchScript runs code: by name alone
    assert "comparing with the reference outputs" in told


def test_a_miss_raises_nothing(wave_unet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frcrn_export.exporters.reference_parity.check_reference", lambda *args: [])
    results = open_bundle(wave_unet_bundle).manifest.parity
    missed = msgspec.structs.replace(results[0], snr_db=10.0, passed=False)
    monkeypatch.setattr("frcrn_export.exporters.verify.check_bundle", lambda *args: [missed])
    assert not verify(wave_unet_bundle).passed


def test_backends_are_those_that_are_named(wave_unet_bundle: Path) -> None:
    report = verify(str(wave_unet_bundle), backends=["torchscript"])
    assert compared_files(report.results) == {"core.pt"}
    assert report.unchecked == ("core.onnx",)
    with pytest.raises(BackendError):
        verify(wave_unet_bundle, backends=["onnxruntime-cuda"])


def test_what_cannot_be_verified(wave_unet_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        verify(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        verify(wave_unet_bundle, checkpoint=tmp_path / "gone.pt")
    copy = shutil.copytree(wave_unet_bundle, tmp_path / "copy")
    (copy / "core.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"core\.onnx"):
        verify(copy)
    assert (copy / MANIFEST_NAME).is_file()
