import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from frcrn_export.cli import main
from frcrn_export.exporters.families.frcrn.network import CONFIGS, FRCRN_16K
from frcrn_export.exporters.loading import load_model, weights_at_hand
from frcrn_export.exporters.recognition import load_checkpoint
from frcrn_export.exporters.training.outputs import read_curve
from frcrn_export.exporters.training.run import TrainingRun

Capture = pytest.CaptureFixture[str]

SHORT = ["--seconds", "0.25", "--batch", "2", "--device", "cpu"]
SMALL = ["--bands", "0", "--channels", "4,6", "--strides", "4,4", "--context", "1", *SHORT]


@pytest.fixture
def frcrn_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of an FRCRN of four channels, which is what frcrn-16k is from here on."""
    narrow = replace(FRCRN_16K, channels=4, fsmn_hidden=4, se_reduction=2)
    monkeypatch.setitem(CONFIGS, "frcrn-16k", narrow)
    path = tmp_path / "pytorch_model.bin"
    torch.save(load_model("frcrn-16k", seed=7).network.state_dict(), path)
    return path


def run(capsys: Capture, *args: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `frcrn-export train ...`."""
    with pytest.raises(SystemExit) as exit_info:
        main(["train", *map(str, args)])
    captured = capsys.readouterr()
    return int(exit_info.value.code or 0), captured.out, captured.err


def test_trains_resumes_and_refuses_to_overwrite(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    speech, noise = folders
    out = tmp_path / "run"
    task = ["wave-unet-16k", "--speech", speech, "--noise", noise, "-o", out, *SMALL]

    code, output, errors = run(capsys, *task, "--steps", "2", "--json")
    assert code == 0, errors
    summary = json.loads(output)
    assert summary["model"] == "wave-unet-16k"
    assert (summary["steps"], summary["best_step"], summary["start"]) == (2, 2, None)
    with safe_open(summary["weights"], framework="pt") as file:
        assert file.metadata()["channels"] == "4,6"
        assert file.metadata()["residual"] == "true"

    code, _, errors = run(capsys, *task, "--steps", "4")
    assert code == 2
    assert "--resume" in errors
    assert "--force" in errors

    code, output, errors = run(capsys, *task, "--steps", "4", "--resume")
    assert code == 0, errors
    assert "4 steps" in errors
    best = torch.load(out / "last.pt", weights_only=True)["best_step"]
    assert f"best at step {best}\n" in errors
    assert "start" not in errors
    assert torch.load(out / "last.pt", weights_only=True)["step"] == 4
    weights = out / "wave-unet-16k.safetensors"
    assert f"Next: frcrn-export onnx --model wave-unet-16k --checkpoint {weights}\n" in errors
    assert [point.step for point in read_curve(out)] == [2, 4]
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")

    shape = ["--non-causal", "--kernel", "9"]
    code, _, errors = run(capsys, *task, "--steps", "1", "--force", *shape)
    assert code == 0, errors
    with safe_open(weights, framework="pt") as file:
        assert (file.metadata()["causal"], file.metadata()["kernel_size"]) == ("false", "9")
    assert torch.load(out / "last.pt", weights_only=True)["step"] == 1


def test_bad_input_is_one_line_and_leaves_nothing(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    speech, noise = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "run"
    common: list[str | Path] = ["-o", out, "--steps", "1", *SMALL]
    cases: list[tuple[list[str | Path], str]] = [
        (["wave-unet-16", "--speech", speech, "--noise", noise], "did you mean wave-unet-16k?"),
        (["wave-unet-16k", "--speech", speech, "--noise", empty], "holds 0 audio files"),
        (["wave-unet-16k", "--speech", speech, "--noise", noise, "--resume"], "nothing to resume"),
        (["wave-unet-16k", "--speech", speech, "--noise", noise, "--device", "tpu9"], "no device"),
        (["wave-unet-16k", "--speech", tmp_path / "no", "--noise", noise], "does not exist"),
    ]
    good: list[str | Path] = ["wave-unet-16k", "--speech", speech, "--noise", noise]
    cases += [
        ([*good, "--strides", "4,9"], "between 1"),
        ([*good, "--strides", "4,x"], "takes whole numbers"),
        ([*good, "--minutes", "inf"], "'inf' is not a finite number"),
        ([*good, "--seconds", "nan"], "'nan' is not a finite number"),
        ([*good, "--learning-rate", "nan"], "'nan' is not a finite number"),
        ([*good, "--seconds", "61"], "0.25<=x<=60"),
        ([*good, "-o", speech / "0.wav" / "run"], "cannot be written (Not a directory)"),
    ]
    check_refused(capsys, out, common, cases)


def test_weights_are_not_overwritten_unasked(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    speech, noise = folders
    out = tmp_path / "run"
    task = ["wave-unet-16k", "--speech", speech, "--noise", noise, "-o", out, "--steps", "1"]
    code, _, errors = run(capsys, *task, *SMALL)
    assert code == 0, errors
    weights = out / "wave-unet-16k.safetensors"
    before = weights.read_bytes()
    (out / "last.pt").unlink()
    given = ["--checkpoint", out / ".." / "run" / weights.name]
    for args, message in (
        (SMALL, "exists: replace it with --force, or change -o"),
        ([*SHORT, *given], "is the --checkpoint, which a run would replace: change -o"),
        ([*SHORT, *given, "--force"], "is the --checkpoint"),
    ):
        code, _, errors = run(capsys, *task, *args)
        assert code == 2
        assert message in errors
        assert weights.read_bytes() == before
    code, _, errors = run(capsys, *task, *SMALL, "--force")
    assert code == 0, errors


def test_an_interrupted_run_says_how_to_go_on(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech, noise = folders
    out = tmp_path / "run"
    task = ["wave-unet-16k", "--speech", speech, "--noise", noise, "-o", out, "--steps", "3"]
    true_step = TrainingRun.train_step

    def interrupted_step(run: TrainingRun, *batch: torch.Tensor) -> tuple[float, float]:
        signal.raise_signal(signal.SIGTERM)
        return true_step(run, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "train_step", interrupted_step)
        code, _, errors = run(capsys, *task, *SMALL)
    assert code == 130
    assert f"{out} is saved at step 1: go on with the same command and --resume\n" in errors
    assert errors.endswith("interrupted\n")
    code, _, errors = run(capsys, *task, *SMALL, "--resume")
    assert code == 0, errors
    assert "3 steps" in errors


def test_a_fine_tuning_that_only_lost_says_so(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    improvements = iter([3.0, 1.0])
    monkeypatch.setattr(TrainingRun, "_improvement_db", lambda run, *pair: next(improvements))
    speech, noise = folders
    data = ["--speech", speech, "--noise", noise, "-o", tmp_path / "run", "--steps", "1"]
    code, _, errors = run(capsys, "wave-unet-16k", *data, *SHORT, "--checkpoint", "default")
    assert code == 0, errors
    assert "+3.00 dB SI-SDR on held-out mixtures (start +3.00), best at step 0\n" in errors
    assert "Nothing better was found: these are the weights of the checkpoint.\n" in errors


@pytest.mark.slow
def test_frcrn_is_fine_tuned_and_exported_for_streaming(
    folders: tuple[Path, Path], frcrn_weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    speech, noise = folders
    out = tmp_path / "run"
    task = ["frcrn-16k", "--speech", speech, "--noise", noise, "-o", out, *SHORT, "--json"]
    start = ["--checkpoint", frcrn_weights, "--squeeze-excite", "cumulative", "--steps", "1"]
    code, output, errors = run(capsys, *task, *start, "--schedule", "cosine", "--early-stop", "3")
    assert code == 0, errors
    summary = json.loads(output)
    assert summary["model"] == "frcrn-16k"
    assert (summary["skipped"], summary["stopped_early"]) == (0, False)

    bundle = tmp_path / "bundle"
    with pytest.raises(SystemExit) as left:
        main(["onnx", "--checkpoint", summary["weights"], "-o", str(bundle)])
    assert not left.value.code, capsys.readouterr().err
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["model"] == "frcrn-16k"
    assert manifest["variant"] == {"squeeze_excite": "cumulative"}


def test_fine_tuning_starts_from_the_packaged_weights(
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    speech, noise = folders
    out = tmp_path / "run"
    task = ["wave-unet-16k", "--speech", speech, "--noise", noise, "-o", out, *SHORT, "--json"]
    rate = ["--learning-rate", "1e-9"]
    code, output, errors = run(capsys, *task, "--checkpoint", "default", "--steps", "1", *rate)
    assert code == 0, errors
    assert 'curve.png: a curve needs matplotlib; run: pip install "frcrn-export[plot]"' in errors
    trained = load_checkpoint(Path(json.loads(output)["weights"]))
    packaged = weights_at_hand("wave-unet-16k")
    assert packaged is not None
    start = load_checkpoint(packaged)
    assert trained.metadata["fine_tuned_from"] == start.sha256
    assert trained.state.keys() == start.state.keys()
    for name, value in start.state.items():
        after, before = trained.state[name].float(), value.float()
        assert torch.allclose(after, before, rtol=1e-3, atol=1e-6), name  # float16 in the file


def test_checkpoints_and_options_that_do_not_fit(
    folders: tuple[Path, Path], frcrn_weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    speech, noise = folders
    out = tmp_path / "run"
    foreign = tmp_path / "foreign.pth"
    torch.save({"weight": torch.zeros(3)}, foreign)
    given = ["--checkpoint", frcrn_weights]
    common = ["--speech", speech, "--noise", noise, "-o", out, "--steps", "1", *SHORT]
    cases: list[tuple[list[str | Path], str]] = [
        (["frcrn-16k", "--squeeze-excite", "often"], "takes global, cumulative or window:SECONDS"),
        (["wave-unet-16k", "--squeeze-excite", "cumulative"], "leave out --squeeze-excite"),
        (["wave-unet-12x24"], "cannot be trained here; did you mean wave-unet-16k?"),
        (["frcrn"], "did you mean frcrn-16k?"),
        (["frcrn-16k", "--strides", "4,4"], "frcrn-16k has no strides; leave out --strides"),
        (["frcrn-16k", "--non-causal"], "frcrn-16k has no causal; leave out --causal"),
        (["frcrn-16k", "--checkpoint", "default"], "frcrn-export fetch frcrn-16k"),
        (["frcrn-16k", "--checkpoint", tmp_path / "no.pth"], "no such file"),
        (["frcrn-16k", "--checkpoint", foreign], "not the weights of frcrn-16k"),
        (["wave-unet-16k", "--checkpoint", foreign], "not a wave-unet-16k"),
        (["frcrn-16k-512", *given], "321-bin weights, not frcrn-16k-512: frcrn-export train frcr"),
        (["wave-unet-16k", *given], "not wave-unet-16k: frcrn-export train frcrn-16k"),
        (["wave-unet-16k", "--checkpoint", "default", "--context", "2"], "leave out one"),
        (["wave-unet-16k", "--non-causal"], "no such network: 384 bands need"),
        (["wave-unet-16k", "--schedule", "linear"], "'plateau', 'cosine'"),
    ]
    check_refused(capsys, out, common, cases)


def without(common: list[str | Path], args: list[str | Path]) -> list[str | Path]:
    """The common options, each a name and a value, but for those that are given anew."""
    pairs = zip(common[::2], common[1::2], strict=True)
    return [part for pair in pairs if pair[0] not in args for part in pair]


def check_refused(
    capsys: Capture,
    out: Path,
    common: list[str | Path],
    cases: list[tuple[list[str | Path], str]],
) -> None:
    """Each command ends with 2 and one line that has the message, and makes no run folder."""
    for args, message in cases:
        code, output, errors = run(capsys, *without(common, args), *args)
        assert code == 2, errors
        assert message in errors
        assert errors.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in errors
        assert not output
        assert not out.exists()
