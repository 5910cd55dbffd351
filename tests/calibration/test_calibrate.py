"""The whole of calibration on a small bundle: what it adds, and when it adds nothing."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.calibration import calibrate as module
from frcrn_export.calibration import plan, result
from frcrn_export.calibration.calibrate import calibrate, calibrate_with
from frcrn_export.calibration.plan import Settings
from frcrn_export.runtime.bundle.manifest import Target
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import CheckFailed, UserError
from tests.calibration.bundles import (
    KEPT,
    SIGNALS,
    TRAINED,
    contents,
    speed,
    write_masking_bundle,
)
from tests.calibration.conftest import write_clips
from tests.pairs import Signal

pytestmark = pytest.mark.usefixtures("no_pictures")
fast = pytest.mark.usefixtures("twice_as_fast")

Make = Callable[..., Settings]


@pytest.fixture
def settings(clips_folder: Path, held_out: Path) -> Make:
    def make(target: Target = "cpu", **changes: object) -> Settings:
        made = Settings(target, (clips_folder,), pairs=held_out, threads=1)
        return dataclasses.replace(made, **changes)  # type: ignore[arg-type]

    return make


def narrow(monkeypatch: pytest.MonkeyPatch, factor: float, *tensors: str) -> None:
    """Let the ranges of these tensors, or of all, come out so much too small."""
    observe = plan.observe

    def observed(*args: object, **options: object) -> object:
        found = observe(*args, **options)  # type: ignore[arg-type]
        for name in tensors or list(found):
            each = found[name]
            found[name] = dataclasses.replace(
                each, low=each.low / factor, high=each.high / factor, limit=each.limit / factor
            )
        return found

    monkeypatch.setattr(plan, "observe", observed)


@fast
@pytest.mark.parametrize(
    ("target", "stem", "layers"),
    [("cpu", "core.int8.cpu", 4), ("tensorrt", "core.int8", 3)],
)
def test_what_a_bundle_has_afterwards(
    masking_bundle: Path, settings: Make, target: Target, stem: str, layers: int, noisy: Signal
) -> None:
    before = contents(masking_bundle)
    report = calibrate_with(masking_bundle, settings(target, seed=3))
    after = contents(masking_bundle)
    added = [f"{stem}.onnx", *(f"{stem}.{end}" for end in ("quality.json", "quality.md"))]
    assert set(after) - set(before) == {*added, f"{stem}.worst.png"}
    assert all(after[name] == before[name] for name in before if name != "manifest.json")

    bundle = open_bundle(masking_bundle)
    entry = bundle.manifest.file("core", "onnx", "int8", target)
    assert entry is not None
    assert (entry.path, entry.precision) == (f"{stem}.onnx", "int8")
    assert entry.sha256 == sha256_of(bundle.file(entry))
    # Float16 scales came with opset 19.
    assert (entry.opset, entry.min_onnxruntime) == (
        (13, "1.9") if target == "cpu" else (19, "1.15")
    )
    made = entry.quantization
    assert made is not None
    assert made == report.quantization
    assert (made.target, made.method, made.clips, made.seed) == (target, "mse", 2, 3)
    assert (made.layers, made.candidates, made.kept_slower) == (layers, layers, False)
    assert made.report == f"{stem}.quality.json"
    assert made.share == pytest.approx(sum(row.share for row in report.layers if row.int8))
    gates = {gate.name: gate.passed for gate in made.gates}
    assert gates["core_snr"] is True
    assert gates["speed"] is (True if target == "cpu" else None)  # no GPU is here
    reports = [each.path for each in bundle.manifest.files if each.role == "report"]
    assert sorted(reports) == sorted(set(after) - set(before) - {entry.path})
    assert json.loads(after[f"{stem}.quality.json"])["quantization"]["layers"] == layers
    assert set(report.qualities) == {"fp32", "fp16", "int8"}
    if target == "cpu":
        denoised = Denoiser.open(masking_bundle, backend="onnxruntime", precision="int8")
        assert np.isfinite(denoised(noisy, 16_000)).all()


@fast
def test_the_packaged_recording_judges_by_default(masking_bundle: Path, clips_folder: Path) -> None:
    told: list[str] = []
    report = calibrate(
        masking_bundle,
        str(clips_folder),
        progress=lambda phase, done, steps: told.append(phase),
    )
    assert [clip.name for clip in report.int8.clips] == ["demo"]
    assert {"reading the recordings", "measuring ranges", "float32: demo"} <= set(told)
    assert report.quantization.candidates == 3


def test_fp8_is_for_tensorrt_alone(masking_bundle: Path, clips_folder: Path) -> None:
    with pytest.raises(UserError, match="FP8 is for TensorRT alone"):
        calibrate(masking_bundle, clips_folder, target="cpu", precision="fp8")


def test_every_argument_arrives(monkeypatch: pytest.MonkeyPatch, masking_bundle: Path) -> None:
    given: dict[str, object] = {}

    def calibrate_with(path: Path, settings: Settings, **options: object) -> None:
        given.update(path=path, settings=settings, **options)

    monkeypatch.setattr(module, "calibrate_with", calibrate_with)
    calibrate(
        open_bundle(masking_bundle),
        ["a", Path("b")],
        target="cpu",
        streaming=True,
        pairs="p",
        method="entropy",
        clips=5,
        seed=7,
        auto=True,
        minutes=1.5,
        allow_slower=True,
        threads=2,
        checkpoint="w.pt",
        force=True,
    )
    del given["progress"]
    folders = (Path("a"), Path("b"))
    assert given == {
        "path": masking_bundle,
        "settings": Settings(
            "cpu", folders, True, Path("p"), "entropy", 5, 7, True, 1.5, True, 2, "int8"
        ),
        "checkpoint": Path("w.pt"),
        "force": True,
    }


@fast
def test_it_is_not_made_twice_but_by_force(masking_bundle: Path, settings: Make) -> None:
    calibrate_with(masking_bundle, settings())
    calibrate_with(masking_bundle, settings("tensorrt"))
    before = contents(masking_bundle)
    with pytest.raises(UserError, match=r"core\.int8\.cpu\.onnx exists; add --force"):
        calibrate_with(masking_bundle, settings(method="minmax"))
    assert contents(masking_bundle) == before
    report = calibrate_with(masking_bundle, settings(method="minmax"), force=True)
    assert report.quantization.method == "minmax"
    after = contents(masking_bundle)
    assert set(after) == set(before)
    assert after["core.int8.cpu.onnx"] != before["core.int8.cpu.onnx"]
    assert after["core.int8.onnx"] == before["core.int8.onnx"]
    open_bundle(masking_bundle)


@fast
def test_a_damaged_one_is_made_anew(masking_bundle: Path, settings: Make) -> None:
    calibrate_with(masking_bundle, settings())
    before = contents(masking_bundle)
    (masking_bundle / "core.int8.cpu.onnx").write_bytes(b"broken")
    calibrate_with(masking_bundle, settings(), force=True)
    after = contents(masking_bundle)
    assert after["core.int8.cpu.onnx"] == before["core.int8.cpu.onnx"]


@fast
def test_recordings_of_hardly_any_level_fail_the_gate(tmp_path: Path, settings: Make) -> None:
    """Of a network that takes the level as it is: ranges for noise 46 dB below what comes."""
    bundle = write_masking_bundle(tmp_path / "bundles" / "b", level="none", weights=TRAINED)
    quiet = write_clips(tmp_path / "quiet", gain=1 / 200)
    before = contents(bundle)
    with pytest.raises(CheckFailed, match=r"core\.int8\.cpu\.onnx: mean core SNR .* 20 dB") as why:
        calibrate_with(bundle, settings(folders=(quiet,)))
    command = rf"calibrate {bundle} --for cpu --calib {quiet} --pairs \S+ --auto"
    assert re.search(command, str(why.value))
    assert contents(bundle) == before
    calibrate_with(bundle, settings())  # the same recordings at their level


@fast
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_ranges_that_are_far_too_narrow_fail_the_gate(
    masking_bundle: Path, settings: Make, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, 100)
    before = contents(masking_bundle)
    with pytest.raises(CheckFailed, match="mean core SNR"):
        calibrate_with(masking_bundle, settings(target))
    assert contents(masking_bundle) == before


@fast
def test_the_harmful_signal_goes_back_to_float(
    masking_bundle: Path, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, 100, "parallel.out")  # what one layer alone gives
    before = contents(masking_bundle)
    with pytest.raises(CheckFailed, match="mean core SNR"):
        calibrate_with(masking_bundle, settings())
    assert contents(masking_bundle) == before

    report = calibrate_with(masking_bundle, settings(auto=True))
    made = report.quantization
    assert (made.layers, made.candidates) == (3, 4)
    rows = {row.name: row for row in report.layers}
    assert [name for name, row in rows.items() if row.int8] == ["encoder", "depthwise", "grouped"]
    reasons = {name: row.reason for name, row in rows.items() if row.reason}
    assert reasons == {**KEPT, "parallel": "the search lets it fall back to float"}
    first, *_, last = report.search
    assert (first.passed, first.chosen, first.share) == (
        False,
        False,
        pytest.approx(0.8098, abs=0.001),
    )
    assert (last.passed, last.chosen) == (True, True)
    assert last.share == made.share == pytest.approx(first.share - rows["parallel"].share)
    sensitivities = {each.tensor: each.sensitivity_db for each in report.ranges}
    assert list(sensitivities) == [name for name in SIGNALS if name != "parallel.out"]
    assert None not in sensitivities.values()
    content = json.loads((masking_bundle / "core.int8.cpu.quality.json").read_text())
    assert [point["chosen"] for point in content["search"]][-1] is True


@fast
def test_where_no_layer_passes_nothing_is_kept(
    masking_bundle: Path, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, 1e6)
    before = contents(masking_bundle)
    with pytest.raises(CheckFailed, match="mean core SNR"):
        calibrate_with(masking_bundle, settings(auto=True))
    assert contents(masking_bundle) == before


@fast
def test_what_passes_at_once_is_not_searched(masking_bundle: Path, settings: Make) -> None:
    report = calibrate_with(masking_bundle, settings(auto=True))
    assert [(point.passed, point.chosen) for point in report.search] == [(True, True)]
    assert {row.sensitivity_db for row in (*report.layers, *report.ranges)} == {None}


def test_a_slower_file_is_kept_by_request_alone(
    masking_bundle: Path, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measure_speed", lambda *args, **options: speed(0.8))
    before = contents(masking_bundle)
    with pytest.raises(CheckFailed, match=r"speed .*0\.8.*--allow-slower"):
        calibrate_with(masking_bundle, settings())
    assert contents(masking_bundle) == before
    report = calibrate_with(masking_bundle, settings(allow_slower=True))
    assert report.quantization.kept_slower is True
    manifest = open_bundle(masking_bundle).manifest
    entry = manifest.file("core", "onnx", "int8", "cpu")
    assert entry is not None
    assert entry.quantization is not None
    assert entry.quantization.kept_slower is True
    assert entry.quantization.gates[-1].passed is False


def test_allow_slower_forgives_nothing_else(
    masking_bundle: Path, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measure_speed", lambda *args, **options: speed(0.8))
    narrow(monkeypatch, 100)
    before = contents(masking_bundle)
    with pytest.raises(CheckFailed, match="mean core SNR") as why:
        calibrate_with(masking_bundle, settings(allow_slower=True))
    assert "speed" not in str(why.value)
    assert contents(masking_bundle) == before


@fast
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["make_report", "add_to_bundle"])
def test_nothing_half_written(
    masking_bundle: Path,
    settings: Make,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    where: str,
) -> None:
    def fail(*args: object) -> None:
        raise error("in the middle")

    if where == "make_report":
        monkeypatch.setattr(module, "make_report", fail)
    else:  # when the file is there already
        monkeypatch.setattr(result, "report_files", fail)
    before = contents(masking_bundle)
    with pytest.raises(error, match="in the middle"):
        calibrate_with(masking_bundle, settings())
    assert contents(masking_bundle) == before
    open_bundle(masking_bundle)


def test_what_is_missing_is_known_before_the_work(
    masking_bundle: Path, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args: object) -> None:
        raise UserError("not installed")

    monkeypatch.setattr(module, "make_plan", lambda *args: pytest.fail("began to work"))
    for name in ("require_matplotlib", "require_packages"):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, missing)
            with pytest.raises(UserError, match="not installed"):
                calibrate_with(masking_bundle, settings())
