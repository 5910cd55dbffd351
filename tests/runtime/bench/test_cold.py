import json
from pathlib import Path

import pytest

from frcrn_export.runtime.bench import cold
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError
from tests.bundles import write_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, float | str | None]:
    """What the process prints, from this one."""
    cold.main(words)
    found: dict[str, float | str | None] = json.loads(capsys.readouterr().out)
    return found


def test_an_engine_says_the_memory_that_it_takes_of_the_gpu(
    gpu: SimulatedGpu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_bundle(tmp_path / "b")
    shape, activation = (1, 1, 16_000), 3 << 20
    entry = add_engine(root, low=shape, best=shape, high=shape, activation=activation)
    found = said(capsys, str(root), entry.path, "tensorrt", "1")
    assert isinstance(found["device_bytes"], int)
    # Input, output and activations; each context of the lane shares the last.
    assert found["device_bytes"] >= activation + 2 * 4 * 16_000
    assert found["device_bytes"] < 2 * activation


def test_other_files_take_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bundle(tmp_path / "b")
    found = said(capsys, str(root), "core.onnx", "onnxruntime-cpu", "1")
    assert found["device_bytes"] is None


def test_an_engine_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_bundle(tmp_path / "b")
    shape = (1, 1, 16_000)
    entry = add_engine(root, "tensorrt-rtx", low=shape, best=shape, high=shape)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(BackendError, match=rf"^{entry.path}: .*run: "):
        cold.start_cold(open_bundle(root), entry, "tensorrt-rtx", 1)
