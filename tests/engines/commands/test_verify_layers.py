"""`frcrn-export verify --layers`."""

import json
import re
import shutil
from pathlib import Path

import pytest

from frcrn_export.cli import main
from frcrn_export.runtime.bundle.reader import Bundle
from tests.exporters.test_layer_parity import NAMES, scale_weight


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["verify", *map(str, args)])
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


def test_a_table_of_each_file(
    small_wave_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, small_wave_bundle.path, "--layers")
    assert code == 0
    assert "core.fp16.onnx against core.onnx, core.49-frames" in out
    assert "core.streaming.fp16.onnx against core.streaming.onnx" in out
    assert [line.split()[1] for line in out.splitlines() if "│ layers." in line] == NAMES[1:-1]
    assert out.count("largest drop") <= 2
    assert "rounded explicitly" in out


def test_a_miss_exits_with_1_after_the_tables(
    small_wave_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(small_wave_bundle.path, tmp_path / "b"))
    scale_weight(path / "core.fp16.onnx", "synthesis.weight", 1.1)
    code, out, err = run(capsys, path, "--layers")
    assert code == 1
    assert "the largest drop is in synthesis" in err
    (marked,) = (
        line for line in out.splitlines() if "largest drop" in line and "synthesis" in line
    )
    assert "synthesis" in marked
    assert "below the floor of 45 dB" in out
    code, out, _ = run(capsys, path, "--layers", "--json")
    assert code == 1
    first, second = json.loads(out)["files"]
    assert first["largest_drop"] == "synthesis"
    assert [layer["layer"] for layer in first["layers"]] == NAMES
    assert (first["output"]["passed"], second["output"]["passed"]) == (False, True)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--layers", "--streaming"], "--layers takes no --streaming"),
        (["--layers", "--checkpoint", "x"], "--layers takes no --checkpoint"),
        (["--layers", "--backend", "tensorrt-rtx"], "no engine for tensorrt-rtx to compare"),
        (["--layers", "--backend", "tensorrt", "--precision", "fp32"], "trt .* --fp32 --backend"),
        (["--layers", "--backend", "torchscript"], "layers are compared in onnxruntime-cpu, "),
        (["--precision", "fp16"], "--precision goes with --layers"),
        (["--layers", "--precision", "int8"], "no int8 core"),
    ],
)
def test_what_cannot_be_done_exits_with_2(
    small_wave_bundle: Bundle, args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, small_wave_bundle.path, *args)
    assert code == 2
    assert re.search(says, err)
