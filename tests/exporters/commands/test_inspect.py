"""`inspect` of a checkpoint: what is in it, what it was recognised as, what would be assumed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from frcrn_export import load_model
from frcrn_export.cli import main
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.runtime.bundle.schema import manifest_schema
from tests.bundles import write_bundle

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


def without_a_variance(state: dict[str, torch.Tensor]) -> None:
    del state["encoder.0.1.running_var"]


def with_a_short_variance(state: dict[str, torch.Tensor]) -> None:
    state["encoder.0.1.running_var"] = torch.ones(1)


def with_a_further_layer(state: dict[str, torch.Tensor]) -> None:
    state["encoder.7.weight"] = torch.ones(1)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without_a_variance, "1 missing (encoder.0.1.running_var)"),
        (with_a_short_variance, "encoder.0.1.running_var [1] instead of [4]"),
        (with_a_further_layer, "1 unexpected (encoder.7.weight)"),
    ],
)
@pytest.mark.parametrize("kernel", [3, 7])  # strides of 4, which are assumed, fit 7 alone
def test_what_an_export_refuses(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, torch.Tensor]], None],
    fault: str,
    kernel: int,
) -> None:
    config = WaveUNetConfig(channels=(4, 6), strides=(1, 2), kernel_size=kernel)
    state = dict(WaveUNet(config).state_dict())
    change(state)
    path = tmp_path / "w.pt"
    torch.save(state, path)
    code, out, err = run(capsys, "inspect", path)
    assert code == 2
    assert fault in err
    assert "recognised as" in out
    assert "assumed" not in out
    assert run(capsys, "onnx", "--checkpoint", path, "-o", tmp_path / "b") == (2, "", err)
    code, out, _ = run(capsys, "inspect", path, "--json")
    assert code == 2
    assert fault in json.loads(out)["refused"]


def test_an_assumption_that_no_network_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of the values that the error lists can be given."""
    config = WaveUNetConfig(channels=(4, 6), strides=(1, 2), kernel_size=3)
    path = tmp_path / "w.pt"
    torch.save(WaveUNet(config).state_dict(), path)
    code, out, err = run(capsys, "inspect", path)
    assert code == 2
    assert "give --strides as trained: 1,1 1,2 2,1 or 2,2" in err
    assert "4,4" not in out
    assert run(capsys, "onnx", "--checkpoint", path, "-o", tmp_path / "b") == (2, "", err)
    for strides in [(1, 1), (1, 2), (2, 1), (2, 2)]:
        assert load_model(None, path, options={"strides": strides}).settings["strides"] == strides


def test_a_file_of_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bundle(tmp_path / "a b")
    code, out, err = run(capsys, "inspect", root / "core.onnx")
    assert (code, out) == (2, "")
    assert f"run: frcrn-export inspect '{root}'" in " ".join(err.split())


def test_layers_of_a_bundle_without_an_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_bundle(tmp_path / "b")
    code, out, _ = run(capsys, "inspect", root, "--layers")
    assert code == 0
    said = " ".join(out.split())
    assert f"and so no layers of one; build one: frcrn-export trt {root} --fp16" in said
    assert "No engine" not in run(capsys, "inspect", root)[1]


def test_nothing_to_compare_with_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["inspect", str(tmp_path), "--against", str(tmp_path / "nosuch")])
    assert left.value.code == 2
    assert f"{tmp_path / 'nosuch'}: no such bundle, engine" in capsys.readouterr().err


def test_the_schema_of_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", "--schema")
    assert (code, out, err) == (0, manifest_schema(), "")
