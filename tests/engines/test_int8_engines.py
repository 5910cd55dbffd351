"""`frcrn-export trt --int8` and `--fp8`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from frcrn_export.calibration import calibrate
from frcrn_export.runtime.commands.inspect_tables import said_of_quantized
from tests.engines.commands.test_trt import contents, entry, fails, run
from tests.int8_bundles import add_int8

ENGINE = "core.int8.sm89.tensorrt-rtx.engine"
CALIBRATE = "run: frcrn-export calibrate {} --for rtx4090d --calib FOLDER"


@pytest.fixture(scope="module")
def int8_bundle(engine_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = shutil.copytree(engine_bundle, tmp_path_factory.mktemp("int8") / "bundle")
    add_int8(path)
    return path


def test_builds_from_the_int8_core_and_says_what_runs_in_int8(
    int8_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(int8_bundle, tmp_path / "bundle")
    source = entry(path, "core.int8.onnx")
    assert source.quantization is not None
    code, out, _ = run(capsys, "trt", path, "--int8", "--json")
    assert code == 0
    shown = json.loads(out)
    assert set(shown["quantized"].values()) == {"Int8"}
    assert len(shown["quantized"]) == source.quantization.layers
    assert shown["census"]["Conv"]["Int8"] == source.quantization.layers
    engine = entry(path, ENGINE)
    assert engine.precision == "int8"
    assert engine.engine is not None
    assert engine.engine.source_sha256 == source.sha256
    assert "core.int8.onnx, which passed pesq and was not measured for speed." in (
        engine.engine.verification
    )
    code, out, _ = run(capsys, "trt", path, "--int8", "--force")
    assert code == 0
    assert f"All {source.quantization.layers} layers that the file quantizes run in Int8." in out


def test_layers_that_do_not_run_in_int8_are_named() -> None:
    said = said_of_quantized({"a": "Int8", "b": "Half", "c": "unlisted"}, "int8")
    assert said == "Of 3 layers that the file quantizes 1 run in Int8; not: b (Half), c (unlisted)."
    said = said_of_quantized({"a": "FP8", "b": "Int8"}, "fp8")
    assert said == "Of 2 layers that the file quantizes 1 run in FP8; not: b (Int8)."


def test_fp8(
    engine_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine of a file that is calibrated on the way."""
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    fp8 = CALIBRATE.replace("rtx4090d", "rtx4090d --fp8").format(path)
    before = contents(path)
    assert (
        f"has no FP8 core for TensorRT; add --calib FOLDER with recordings of speech, or {fp8}"
        in (fails(capsys, "trt", path, "--fp8"))
    )
    for gpu, sm in (("rtx3090", "8.6"), ("rtx2080ti", "7.5")):
        line = fails(capsys, "trt", path, "--fp8", "--gpu", gpu, "--calib", tmp_path)
        assert "FP8 needs SM 8.9 or later" in line
        assert line.endswith(f"is SM {sm}; take --int8\n")
    assert contents(path) == before
    out = run(capsys, "trt", path, "--fp8", "--explain")[1]
    assert fp8.removeprefix("run: ") in out.splitlines()
    assert f"--onnx={path}/core.fp8.onnx " in out

    numbers = []

    def recorded(bundle: Path, recordings: object, **options: object) -> None:
        numbers.append(options["precision"])
        add_int8(bundle, precision="fp8")

    monkeypatch.setattr(calibrate, "calibrate", recorded)
    code, out, _ = run(capsys, "trt", path, "--fp8", "--calib", tmp_path)
    assert (code, numbers) == (0, ["fp8"])
    source = entry(path, "core.fp8.onnx")
    assert source.quantization is not None
    layers = source.quantization.layers
    assert f"All {layers} layers that the file quantizes run in FP8." in out
    assert ">FP8" not in out
    assert "FP8" in out.split("Precision census", 1)[1]
    engine = entry(path, ENGINE.replace("int8", "fp8"))
    assert engine.precision == "fp8"
    assert engine.engine is not None
    assert engine.engine.source_sha256 == source.sha256


def test_without_an_int8_core(
    engine_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(engine_bundle)
    assert CALIBRATE.format(engine_bundle) in fails(capsys, "trt", engine_bundle, "--int8")
    assert contents(engine_bundle) == before
    new = tmp_path / "new"
    line = fails(capsys, "trt", "--int8", "--random-weights", "1", "-o", new)
    assert "add --calib FOLDER" in line
    assert not new.exists()


def test_calibrates_where_it_has_to(
    engine_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    calls = []

    def recorded(
        bundle: Path,
        recordings: object,
        progress: Callable[[str, int, int], None],
        **options: object,
    ) -> None:
        calls.append((bundle, recordings, options))
        progress("measuring ranges", 1, 2)
        add_int8(bundle)

    monkeypatch.setattr(calibrate, "calibrate", recorded)
    folders = tmp_path / "a", tmp_path / "b"
    args = [arg for folder in folders for arg in ("--calib", folder)]
    code, _, _ = run(capsys, "trt", path, "--int8", *args)
    assert code == 0
    options = {"target": "tensorrt", "streaming": False, "precision": "int8"}
    assert calls == [(path, folders, options)]
    assert entry(path, ENGINE).precision == "int8"
    run(capsys, "trt", path, "--int8", "--force", *args)
    assert len(calls) == 1  # it is there now


def test_an_int8_core_for_a_processor_is_not_taken(
    int8_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(int8_bundle, tmp_path / "bundle")
    manifest = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(manifest.replace('"tensorrt",\n', '"cpu",\n'))
    quantization = entry(path, "core.int8.onnx").quantization
    assert quantization is not None
    assert quantization.target == "cpu"
    assert CALIBRATE.format(path) in fails(capsys, "trt", path, "--int8")


def test_explain(int8_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "trt", int8_bundle, "--int8", "--explain")
    assert code == 0
    assert f"--onnx={int8_bundle}/core.int8.onnx " in out
    assert f"--saveEngine={ENGINE}" in out
    assert "frcrn-export" not in out


def test_explain_says_how_to_calibrate(
    engine_bundle: Path, wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate = "frcrn-export calibrate {} --for rtx4090d --calib FOLDER"
    lines = run(capsys, "trt", engine_bundle, "--int8", "--explain")[1].splitlines()
    assert lines[2] == calibrate.format(engine_bundle)
    assert lines[3] == "# Build the engine:"
    lines = run(capsys, "trt", wave_unet_bundle, "--int8", "--explain")[1].splitlines()
    assert lines[2].startswith("frcrn-export onnx --model wave-unet-16k --random-weights 1 --fp16")
    assert lines[3] == calibrate.format("NEW_BUNDLE")
