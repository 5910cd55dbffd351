import json
import subprocess
import sys
from pathlib import Path

import pytest

from frcrn_export import cli
from frcrn_export.exporters.registry import MODELS
from frcrn_export.runtime.errors import BundleError, CheckFailed


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(list(args))
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


def test_help_lists_every_command_without_importing_torch() -> None:
    code = (
        "import sys; from frcrn_export.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'rich', 'soundfile'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in cli.COMMANDS:
        assert name in shown.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "Usage: frcrn-export " + name in out


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "onyx")
    assert code == 2
    assert "No such command 'onyx'" in err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BundleError("b: altered"), 2, "error: b: altered"),
        (CheckFailed("12 dB"), 1, "error: 12 dB"),
        (ModuleNotFoundError("no", name="torch"), 2, 'pip install "frcrn-export[export]"'),
        (ModuleNotFoundError("no", name="matplotlib"), 2, 'pip install "frcrn-export[plot]"'),
        (ZeroDivisionError("oops"), 1, "unexpected ZeroDivisionError: oops"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: Exception,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    left, out, err = run(capsys, "models")
    assert (left, out) == (code, "")
    assert line in err
    assert err.count("\n") == 1
    with pytest.raises(type(error)):
        cli.main(["--debug", "models"])


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert all(name in out for name in MODELS)
    _, out, _ = run(capsys, "models", "--json")
    assert [model["name"] for model in json.loads(out)] == list(MODELS)


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["packages"]["torch"].startswith("2.")
    works = {ability["name"]: ability["works"] for ability in found["abilities"]}
    assert works["run ONNX on the CPU"]
    assert works["export ONNX and TorchScript"]
    assert run(capsys, "doctor")[0] == 0


def test_inspect(wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", str(wave_unet_bundle), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["manifest"]["model"] == "wave-unet-16k"
    cost = found["graphs"]["core.onnx"]
    assert cost["operators"]["Conv"] > 0
    assert cost["parameters"] > 100_000
    code, out, _ = run(capsys, "inspect", str(wave_unet_bundle))
    assert "GFLOP" in out
    assert "seed 1 (random)" in out


def test_a_streaming_core_from_export_to_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_path = str(tmp_path / "out")
    words = ("onnx", "--random-weights", "1", "--streaming", "--chunk", "2", "-o", out_path)
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "core.streaming.onnx" in out
    assert f"Next: frcrn-export verify {out_path} --streaming" in out
    code, out, _ = run(capsys, "inspect", out_path)
    assert "128 samples, 8 ms" in out
    assert "encoder.0.next" in out
    code, out, _ = run(capsys, "verify", out_path, "--json")
    assert code == 0
    found = json.loads(out)
    cases = [r["case"] for r in found["parity"] if r["artifact"] == "core.streaming.onnx"]
    assert len(cases) == 4
    assert found["unchecked"] == []
    code, out, _ = run(capsys, "inspect", out_path, "--json")
    costs = {path: cost["flop"] for path, cost in json.loads(out)["graphs"].items()}
    # A second call by call costs what a second costs; a filter has 16 taps where it had 15.
    assert costs["core.streaming.onnx"] == pytest.approx(costs["core.onnx"], rel=0.1)


def test_verify(wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", str(wave_unet_bundle), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["live"] is True
    assert {result["artifact"] for result in found["parity"]} == {"core.onnx", "core.pt"}
    assert any(result["case"].startswith("live.") for result in found["parity"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("onnx", "-m", "frcn-16k"), "unknown model 'frcn-16k'; did you mean frcrn-16k?"),
        (("onnx", "-m", "frcrn-16k"), "frcrn-export fetch frcrn-16k"),
        (("onnx", "-c", "gone.pth"), "gone.pth"),
        (("onnx", "-c", "gone.pth", "--random-weights", "1"), "exclude each other"),
        (("torchscript", "-m", "wave-unet-12x24"), "has no packaged weights"),
        (("verify", "nowhere"), "no bundle here"),
        (("inspect", "nowhere"), "no bundle here"),
        (("onnx", "-m", "frcrn-16k", "--stft", "sideways"), "sideways"),
        (("onnx", "--chunk", "2"), "--chunk and --lookahead go with --streaming"),
        (("onnx", "--streaming", "--lookahead", "3"), "leave out --lookahead 3"),
        (("onnx", "--streaming", "--chunk", "0"), "--chunk"),
        (("onnx", "--streaming", "--chunk", "100000"), "not in the range 1<=x<=64"),
        (("trt", "--streaming", "--chunk", "65"), "not in the range 1<=x<=64"),
    ],
)
def test_bad_input(
    args: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *args)
    assert code == 2
    assert out == ""
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists(
    wave_unet_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "manifest.json").write_text("{}")
    code, _, err = run(capsys, "onnx", "--random-weights", "1", "-o", str(tmp_path / "taken"))
    assert code == 2
    assert "--force" in err


def test_verify_says_what_it_could_not_run(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from frcrn_export.runtime.verify import parity

    monkeypatch.setattr(parity, "is_installed", lambda package: package == "onnxruntime")
    code, out, _ = run(capsys, "verify", str(wave_unet_bundle))
    assert code == 0
    assert "Not compared here: core.pt" in out
    monkeypatch.setattr(parity, "is_installed", lambda package: False)
    code, _, err = run(capsys, "verify", str(wave_unet_bundle))
    assert code == 2
    assert "no installed backend runs core.onnx, core.pt" in err


def test_verify_with_a_backend_that_does_not_exist(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "verify", str(wave_unet_bundle), "-b", "onnxruntme")
    assert code == 2
    assert "did you mean onnxruntime?" in err


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (("train", "wave-unet-16k", "--speech", "a", "--speech", "b"), "--speech"),
        (("evaluate", "bundle", "--pairs", "a", "-p", "b"), "--pairs"),
        (("calibrate", "bundle", "--calib", "c", "--pairs", "a", "--pairs", "b"), "--pairs"),
        (("onnx", "-o", "a", "--output=b"), "--output"),
        (
            ("denoise", "b", "a.wav", "-o", "c.wav", "--precision", "fp16", "--precision", "fp32"),
            "",
        ),
        (("stream", "b", "--status", "--no-status"), "--status/--no-status"),
    ],
)
def test_an_option_for_one_value_given_twice(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...], option: str
) -> None:
    code, _, err = run(capsys, *args)
    assert code == 2
    assert f"{option} is given 2 times; give it once (see: frcrn-export {args[0]} --help)" in err


def test_what_may_be_repeated_is_not_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for args in (
        ("verify", tmp_path, "-b", "onnxruntime-cpu", "-b", "torchscript"),
        ("calibrate", tmp_path, "--calib", "a", "--calib", "b"),
        ("onnx", "-f", "--force", "--checkpoint", tmp_path / "none.pt"),
    ):
        code, _, err = run(capsys, *map(str, args))
        assert code == 2
        assert "times" not in err
