import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from frcrn_export.runtime.commands.denoise import denoise
from frcrn_export.runtime.errors import BackendError, BundleError, UserError
from tests.bundles import centred_manifest, manifest, write_bundle
from tests.int8_standins import add_int8, scaled


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", manifest(level="peak"), gain=0.5)


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    path = tmp_path / "noisy [1].wav"
    soundfile.write(path, 0.5 * np.sin(np.arange(16_000) * 0.1), 16_000)
    return path


def call(*args: object) -> Result:
    return CliRunner().invoke(denoise, [str(arg) for arg in args], catch_exceptions=True)


def test_a_file_is_denoised_and_listed(bundle: Path, noisy: Path, tmp_path: Path) -> None:
    result = call(bundle, noisy, "-o", tmp_path / "out [a].wav", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "RTF" in result.stdout
    assert "core.onnx (fp32) in onnxruntime" in result.stdout
    assert "[a].wav" in result.stdout.replace("\n", "")
    assert result.stderr == f"{bundle}: gain, weights: gain (random: the output is not speech)\n"
    after, rate = soundfile.read(tmp_path / "out [a].wav")
    assert rate == 16_000
    assert np.abs(after).max() == pytest.approx(0.25, abs=1e-3)


def test_json_says_what_was_done(bundle: Path, noisy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(bundle, noisy, "-o", out, "--plot", "--json", "--backend", "onnxruntime-cpu")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["model"], report["backend"], report["device"]) == (
        "gain",
        "onnxruntime-cpu",
        "cpu",
    )
    assert (report["file"], report["precision"]) == ("core.onnx", "fp32")
    assert report["weights"]["source"] == "random"
    assert result.stderr == ""
    (file,) = report["files"]
    assert file["input"] == str(noisy)
    assert Path(file["output"]).is_file()
    assert Path(file["plot"]).read_bytes().startswith(b"\x89PNG")
    assert file["audio_seconds"] == 1.0
    assert file["real_time_factor"] > 0


def test_the_level_can_be_left(bundle: Path, noisy: Path, tmp_path: Path) -> None:
    call(bundle, noisy, "-o", tmp_path / "out.wav", "--no-restore-level")
    after, _ = soundfile.read(tmp_path / "out.wav")
    assert np.abs(after).max() == pytest.approx(0.5, abs=1e-3)


def test_the_attenuation_can_be_limited(bundle: Path, noisy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    result = call(bundle, noisy, "-o", out, "--attenuation-limit", 20, "--json")
    assert json.loads(result.stdout)["attenuation_limit"] == 20
    after, _ = soundfile.read(out)
    # A tenth of the input, whose peak is 0.5, and nine tenths of half of it.
    assert np.abs(after).max() == pytest.approx(0.1 * 0.5 + 0.9 * 0.25, abs=1e-3)
    assert call(bundle, noisy, "-o", out, "-f", "--attenuation-limit", -1).exit_code == 2


def test_errors_are_for_the_caller_to_show(bundle: Path, noisy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    assert isinstance(call(tmp_path, noisy, "-o", out).exception, BundleError)
    assert isinstance(call(bundle, noisy, "-o", out, "-b", "cuda").exception, BackendError)
    assert not out.exists()
    assert call(bundle, noisy, "-o", out).exit_code == 0
    again = call(bundle, noisy, "-o", out)
    assert isinstance(again.exception, UserError)
    assert "--force" in str(again.exception)
    assert call(bundle, noisy, "-o", out, "--force").exit_code == 0


def test_the_command_line_needs_inputs_and_an_output(bundle: Path, noisy: Path) -> None:
    assert call(bundle, noisy).exit_code == 2
    assert call(bundle, "-o", "x").exit_code == 2
    assert call(bundle, noisy, "-o", "x", "--threads", "0").exit_code == 2


def test_the_precision_can_be_chosen(bundle: Path, noisy: Path, tmp_path: Path) -> None:
    add_int8(bundle, lambda model: scaled(model, 0.5))
    for options, precision, peak in ((), "fp32", 0.25), (("--precision", "int8"), "int8", 0.125):
        out = tmp_path / f"{precision}.wav"
        result = call(bundle, noisy, "-o", out, "--json", *options)
        assert json.loads(result.stdout)["precision"] == precision
        assert np.abs(soundfile.read(out)[0]).max() == pytest.approx(peak, abs=1e-3)
    refused = call(bundle, noisy, "-o", tmp_path / "c.wav", "--precision", "fp16").exception
    assert isinstance(refused, BackendError)
    assert call(bundle, noisy, "-o", tmp_path / "c.wav", "--precision", "int4").exit_code == 2


@pytest.mark.parametrize("file_rate", [8_000, 44_100, 48_000])
def test_a_network_at_48_khz_takes_files_of_any_rate(tmp_path: Path, file_rate: int) -> None:
    bundle = write_bundle(tmp_path / "bundle", centred_manifest(), gain=0.5)
    noisy = tmp_path / "noisy.wav"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(file_rate) / file_rate)
    soundfile.write(noisy, tone, file_rate)
    result = call(bundle, noisy, "-o", tmp_path / "out.wav")
    assert result.exit_code == 0, result.output
    after, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == file_rate
    inner = slice(file_rate // 10, -file_rate // 10)
    np.testing.assert_allclose(after[inner], 0.5 * tone[inner], atol=1e-3)
