"""Calibration in FP8: what a bundle has afterwards, and where there is none."""

from pathlib import Path

import click
import numpy as np
import onnx
import pytest

from frcrn_export.calibration.calibrate import calibrate_with
from frcrn_export.calibration.command import calibrate as command
from frcrn_export.calibration.plan import Settings
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.commands.inspect_tables import print_quantization
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BundleError, CheckFailed
from tests.calibration.bundles import TRAINED, contents, write_masking_bundle
from tests.pairs import Signal

pytestmark = pytest.mark.usefixtures("no_pictures")


def fp8_core(root: Path) -> FileEntry:
    entry = open_bundle(root).manifest.file("core", "onnx", "fp8", "tensorrt")
    assert entry is not None
    return entry


def test_the_command(
    masking_bundle: Path,
    clips_folder: Path,
    held_out: Path,
    noisy: Signal,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(masking_bundle)
    options = ["--fp8", "--calib", str(clips_folder), "--pairs", str(held_out), "--threads", "1"]
    command.main([str(masking_bundle), *options], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "3 of 3 layers that gain by it compute in FP8" in shown
    assert "INT8" not in shown
    report = {f"core.fp8.{end}" for end in ("quality.json", "quality.md", "worst.png")}
    assert set(contents(masking_bundle)) - set(before) == {"core.fp8.onnx", *report}
    page = (masking_bundle / "core.fp8.quality.md").read_text()
    assert "Core SNR alone in FP8 (dB)" in page
    assert "INT8" not in page

    entry = fp8_core(masking_bundle)
    assert entry.path == "core.fp8.onnx"
    assert entry.quantization is not None
    assert {gate.name: gate.passed for gate in entry.quantization.gates}["core_snr"] is True
    manifest = open_bundle(masking_bundle).manifest
    reports = [each for each in manifest.files if each.role == "report"]
    assert {each.path for each in reports} == report
    assert {each.precision for each in reports} == {"fp8"}
    model = onnx.load(masking_bundle / entry.path)
    onnx.checker.check_model(model, full_check=True)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT8E4M3FN in kinds
    assert onnx.TensorProto.INT8 not in kinds
    print_quantization(manifest)
    shown = capsys.readouterr().out
    assert "core.fp8.onnx: FP8" in shown
    assert "INT8" not in shown

    denoised, exact = (
        Denoiser.open(masking_bundle, "onnxruntime-cpu", 1, precision)(noisy, 16_000)
        for precision in ("fp8", "fp32")
    )
    assert 20 < snr_db(exact, denoised) < 60
    text = (masking_bundle / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="INT8 and FP8 files alone have `quantization`"):
        parse_manifest(text.replace(b'"precision": "fp8"', b'"precision": "fp16"'))


def test_the_gate_names_the_command(tmp_path: Path, clips_folder: Path, held_out: Path) -> None:
    """A network that takes the level as it is, and recordings far below those that judge."""
    import soundfile

    root = write_masking_bundle(tmp_path / "b" / "b", fp16=True, level="none", weights=TRAINED)
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    for path in clips_folder.iterdir():
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(quiet / path.name, samples / np.float32(200), rate, subtype="FLOAT")
    before = contents(root)
    settings = Settings("tensorrt", (quiet,), pairs=held_out, threads=1, precision="fp8")
    with pytest.raises(CheckFailed, match=r"core\.fp8\.onnx: ") as why:
        calibrate_with(root, settings)
    command = f"calibrate {root} --for rtx4090d --fp8 --calib {quiet} --pairs {held_out} --auto"
    assert command in str(why.value)
    assert contents(root) == before


def test_processors_have_no_fp8(masking_bundle: Path) -> None:
    options = ["--fp8", "--for", "cpu", "--calib", "x"]
    with pytest.raises(click.UsageError, match="--fp8 is for TensorRT alone"):
        command.main([str(masking_bundle), *options], standalone_mode=False)
