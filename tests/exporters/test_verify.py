"""`verify`: a bundle against its own vectors, and against the reference network."""

import shutil
from pathlib import Path

import msgspec
import pytest

from frcrn_export.exporters.verify import verify
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError, BundleError, UserError


def test_the_report(wave_unet_bundle: Path) -> None:
    told: list[str] = []
    report = verify(open_bundle(wave_unet_bundle), progress=told.append)
    assert report.passed
    assert report.live
    assert {result.artifact for result in report.results} == {"core.onnx", "core.pt"}
    assert "comparing with the reference outputs" in told


def test_a_miss_raises_nothing(wave_unet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frcrn_export.exporters.verify.check_live", lambda *args: [])
    results = open_bundle(wave_unet_bundle).manifest.parity
    missed = msgspec.structs.replace(results[0], snr_db=10.0, passed=False)
    monkeypatch.setattr("frcrn_export.exporters.verify.check_bundle", lambda *args: [missed])
    assert not verify(wave_unet_bundle).passed


def test_backends_are_those_that_are_named(wave_unet_bundle: Path) -> None:
    report = verify(str(wave_unet_bundle), backends=["torchscript"])
    assert {result.artifact for result in report.results} == {"core.pt"}
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
