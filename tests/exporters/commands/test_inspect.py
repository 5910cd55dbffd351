"""`inspect` of a checkpoint: what is in it, what it was recognised as, what would be assumed."""

import json
from pathlib import Path

import pytest
import torch

from frcrn_export.cli import main
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig

CONFIG = WaveUNetConfig(channels=(4, 6), strides=(2, 3), kernel_size=7)


def parts() -> dict[str, torch.Tensor]:
    """Another network each time."""
    return WaveUNet(CONFIG).state_dict()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = {f"net.{name}": value for name, value in WaveUNet(CONFIG).state_dict().items()}
    state["loss.window"] = torch.ones(3)
    tree = {"model": state, "ema": state, "config": {"strides": [2, 3], "causal": True}}
    torch.save(tree, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", checkpoint)
    assert code == 0, err
    lines = {tuple(cell.strip() for cell in line.split("│")[1:3]) for line in out.splitlines()}
    assert ("recognised as", "wave-unet-16k") in lines
    assert ("state dict", "model") in lines
    assert ("other state dicts", "ema") in lines
    assert ("prefix", "net.") in lines
    assert ("ignored, beside the network", "1: loss.window") in lines
    assert ("strides", "2,3") in lines
    assert "`config.strides`" in out
    assert "assumed: residual false" in out


def test_a_checkpoint_as_json(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", checkpoint, "--json", "--state-dict", "ema")
    assert code == 0, err
    found = json.loads(out)
    assert (found["model"], found["state_dict"], found["prefix"]) == (
        "wave-unet-16k",
        "ema",
        "net.",
    )
    assert found["settings"]["strides"] == [2, 3]
    assert {one["setting"] for one in found["assumptions"]} == {
        "residual",
        "level",
    }
    assert found["tensors"]["encoder.0.0.weight"] == [4, 1, 7]


@pytest.mark.parametrize("key", ["student", "teacher"])
def test_one_of_two_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    """The other one is a state dict to choose, and no tensors beside this one."""
    both = {f"{who}.{n}": t for who in ("student", "teacher") for n, t in parts().items()}
    torch.save({**both, "loss.window": torch.ones(3)}, tmp_path / "two.pt")
    code, out, err = run(capsys, "inspect", tmp_path / "two.pt", "--state-dict", key, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["model"], found["prefix"]) == ("wave-unet-16k", f"{key}.")
    assert found["other_state_dicts"] == ["teacher" if key == "student" else "student"]
    assert found["ignored"] == ["loss.window"]


def test_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "w.pth")
    code, out, err = run(capsys, "inspect", tmp_path / "w.pth")
    assert (code, err) == (0, "")
    assert "no network known here" in out
    (tmp_path / "t.txt").write_text("hello, this is text")
    code, _, err = run(capsys, "inspect", tmp_path / "t.txt")
    assert code == 2
    assert "not a checkpoint" in err
    code, _, err = run(capsys, "inspect", tmp_path, "--state-dict", "ema")
    assert code == 2
    assert "--state-dict is for checkpoints" in err
