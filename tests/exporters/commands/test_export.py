"""Options of `onnx` that are refused before anything is exported."""

from pathlib import Path

import pytest

from frcrn_export.cli import main


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--opset", "10"], "opset 10: take --opset 11 to 18, or leave it out"),
        (["--opset", "19"], "opset 19: take --opset 11 to 18, or leave it out"),
        (["--static", "1", "1001"], "multiples of 128 samples, not 1001; take --static 1 1024"),
        (["--static", "1", "1024", "--stft", "inline"], "leave out --static or --stft inline"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["onnx", "-o", str(tmp_path / "new"), *options])
    assert left.value.code == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
