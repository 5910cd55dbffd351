"""A bundle of one of several networks in a file stays that network: in verify, trt, remedies."""

from pathlib import Path

import pytest
import torch

from frcrn_export.cli import main
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.bundle.remedies import export_again

CONFIG = WaveUNetConfig(channels=(4, 6), strides=(4, 4), kernel_size=9)


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out + captured.err


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Two networks that differ, and a configuration beside them."""
    torch.manual_seed(0)
    one, other = WaveUNet(CONFIG).eval(), WaveUNet(CONFIG).eval()
    settings = {**CONFIG.to_metadata(), "level": "peak"}
    tree = {"model": one.state_dict(), "ema": other.state_dict(), "config": settings}
    torch.save(tree, tmp_path / "two.pt")
    return tmp_path / "two.pt"


@pytest.mark.slow
def test_the_chosen_network_is_kept(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "ema"
    export = ("onnx", "--checkpoint", checkpoint, "--state-dict", "ema", "-o", bundle)
    code, said = run(capsys, *export)
    assert code == 0, said
    assert "assumed" not in said
    manifest = open_bundle(bundle).manifest
    assert manifest.weights.state_dict == "ema"
    assert "--checkpoint two.pt --state-dict ema" in export_again(manifest)
    code, said = run(capsys, "verify", bundle, "--checkpoint", checkpoint)
    assert code == 0, said
    trt = ("trt", bundle, "--checkpoint", checkpoint, "--explain")
    code, said = run(capsys, *trt, "--state-dict", "model")
    assert code == 2
    assert "was made from the state dict ema of two.pt; leave out --state-dict" in said
    code, said = run(capsys, "torchscript", "--checkpoint", checkpoint, "-o", bundle)
    assert code == 2, said
    code, said = run(
        capsys, "torchscript", "--checkpoint", checkpoint, "--state-dict", "ema", "-o", bundle
    )
    assert code == 0, said


@pytest.mark.parametrize(
    ("outside", "inside", "there"),
    [
        ("", ("student", "teacher"), "student, teacher"),
        ("model", ("student", "teacher"), "model, model.student, model.teacher"),
        ("", ("_orig_mod.student",), "student"),
        ("", (), "one, without a key"),
    ],
)
def test_an_unknown_key_names_those_that_can_be_given(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    outside: str,
    inside: tuple[str, ...],
    there: str,
) -> None:
    parts = [(f"{who}." if who else "", WaveUNet(CONFIG).state_dict()) for who in inside or ("",)]
    state = {f"{prefix}{name}": value for prefix, part in parts for name, value in part.items()}
    path = tmp_path / "w.pt"
    torch.save({outside: state} if outside else state, path)
    arguments = ("inspect", path, "--json", "--state-dict")
    code, said = run(capsys, *arguments, "foo")
    assert code == 2
    assert said.rstrip().endswith(f"holds no state dict 'foo'; there: {there}")
    for key in there.split(", ")[-2:] if inside else ():
        code, said = run(capsys, *arguments, key)
        assert code == 0, said
