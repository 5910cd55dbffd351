import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from frcrn_export.exporters.cli import main

SMALL = ["--channels", "4,6", "--strides", "4,4", "--context", "1", "--seconds", "0.25"]
SMALL += ["--batch", "2", "--device", "cpu"]


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `frcrn-export train ...`."""
    with pytest.raises(SystemExit) as exit_info:
        main(["train", *map(str, args)])
    captured = capsys.readouterr()
    return int(exit_info.value.code or 0), captured.out, captured.err


def test_trains_resumes_and_refuses_to_overwrite(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech, noise = folders
    out = tmp_path / "run"
    task = ["wave-unet-16k", "--speech", speech, "--noise", noise, "-o", out, *SMALL]

    code, output, errors = run(capsys, *task, "--steps", "2", "--json")
    assert code == 0, errors
    summary = json.loads(output)
    assert summary["model"] == "wave-unet-16k"
    assert summary["steps"] == 2
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
    assert torch.load(out / "last.pt", weights_only=True)["step"] == 4

    code, _, _ = run(capsys, *task, "--steps", "1", "--force")
    assert code == 0
    assert torch.load(out / "last.pt", weights_only=True)["step"] == 1


def test_bad_input_is_one_line_and_leaves_nothing(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech, noise = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "run"
    common = ["-o", out, "--steps", "1", *SMALL]
    cases = [
        (["wave-unet-16", "--speech", speech, "--noise", noise], "did you mean wave-unet-16k?"),
        (["wave-unet-16k", "--speech", speech, "--noise", empty], "holds 0 audio files"),
        (["wave-unet-16k", "--speech", speech, "--noise", noise, "--resume"], "nothing to resume"),
        (["wave-unet-16k", "--speech", speech, "--noise", noise, "--strides", "4,9"], "between 1"),
        (["wave-unet-16k", "--speech", speech, "--noise", noise, "--strides", "4,x"], "'4,x' is"),
        (["wave-unet-16k", "--speech", speech, "--noise", noise, "--device", "tpu9"], "no device"),
        (["wave-unet-16k", "--speech", tmp_path / "no", "--noise", noise], "does not exist"),
    ]
    for args, message in cases:
        code, output, errors = run(capsys, *common, *args)
        assert code == 2, errors
        assert message in errors
        assert not output
        assert not out.exists()
