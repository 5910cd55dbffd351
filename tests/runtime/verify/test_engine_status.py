import shutil
from pathlib import Path

import pytest

from frcrn_export.runtime.bundle.manifest import EngineInfo, ParityResult
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BundleError
from frcrn_export.runtime.verify.engine_status import record_runs
from tests.engines.commands.test_trt import ENGINE, entry

GPU = "NVIDIA GeForce RTX 4090 D"


def result(snr_db: float, artifact: str = ENGINE, case: str = "core.a") -> ParityResult:
    return ParityResult(
        artifact=artifact,
        case=case,
        snr_db=snr_db,
        max_abs=1e-4,
        floor_db=45,
        passed=snr_db >= 45,
    )


def engine_of(path: Path) -> EngineInfo:
    found = entry(path, ENGINE).engine
    assert found is not None
    return found


@pytest.fixture
def bundle(engine_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(engine_bundle, tmp_path / "bundle")


def test_a_run_that_passed_is_written_down(bundle: Path) -> None:
    before = open_bundle(bundle).manifest
    others = result(99, "core.onnx", "core.new")
    record_runs(open_bundle(bundle), [result(61.5), result(52.0, case="core.b"), others], GPU)
    after = open_bundle(bundle).manifest
    assert after.parity == (*before.parity, result(61.5), result(52.0, case="core.b"))
    assert engine_of(bundle).verified_on == GPU
    assert engine_of(bundle).verification.startswith(f"Run on {GPU}: passed all 2 comparisons")
    assert "52.0 dB" in engine_of(bundle).verification


def test_a_later_miss_takes_the_pass_back(bundle: Path) -> None:
    record_runs(open_bundle(bundle), [result(61.5)], GPU)
    record_runs(open_bundle(bundle), [result(12.0)], GPU)
    assert engine_of(bundle).verified_on is None
    assert "1 of 1 comparisons with the reference missed" in engine_of(bundle).verification
    assert open_bundle(bundle).manifest.parity[-1] == result(12.0)
    assert open_bundle(bundle).manifest.parity.count(result(61.5)) == 0


def test_a_bundle_that_cannot_be_written(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name for file in bundle.iterdir()}

    def refuse(self: Path, target: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(BundleError, match="Read-only file system"):
        record_runs(open_bundle(bundle), [result(61.5)], GPU)
    assert {file.name for file in bundle.iterdir()} == before
