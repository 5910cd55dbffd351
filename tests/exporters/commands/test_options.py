"""What several commands share: an output that is in the way is said before anything is loaded."""

import sys
from pathlib import Path

import pytest

from frcrn_export.cli import main
from frcrn_export.exporters import own_module

TAKEN = "exists; add --force to replace it, or choose another -o"
NO_BUNDLE = "exists and is no bundle; choose another path with -o"


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loads models is not there."""
    monkeypatch.setattr(own_module, "load_own_module", None)
    monkeypatch.setitem(sys.modules, "frcrn_export.exporters.loading", None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("onnx --random-weights 1 -o {bundle}", TAKEN),
        ("onnx --checkpoint w.pt -o {bundle}", TAKEN),
        ("onnx --module my.py:build --sample-rate 16000 -o {bundle}", TAKEN),
        ("onnx", "wave-unet-16k exists; add --force"),
        ("onnx --model frcrn-16k", f"frcrn-16k {NO_BUNDLE}"),
        ("onnx --checkpoint w.pt -o {folder} --force", NO_BUNDLE),
        ("torchscript --random-weights 1 -o {bundle}", "core.pt exists; add --force to replace it"),
        ("torchscript --random-weights 1 -o {folder}", NO_BUNDLE),
        ("trt --random-weights 1 -o {folder}", NO_BUNDLE),
        ("trt --model frcrn-16k", f"frcrn-16k {NO_BUNDLE}"),
    ],
)
def test_an_output_that_is_in_the_way_is_said_first(
    line: str,
    said: str,
    wave_unet_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wave-unet-16k").symlink_to(wave_unet_bundle)
    for name in ("folder", "frcrn-16k"):
        Path(name).mkdir()
        Path(name, "notes.txt").touch()
    with pytest.raises(SystemExit) as left:
        main(line.format(bundle=wave_unet_bundle, folder="folder").split())
    assert left.value.code == 2
    assert said in capsys.readouterr().err
