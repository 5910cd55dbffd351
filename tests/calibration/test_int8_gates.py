from pathlib import Path

import msgspec
import onnx
import pytest

from frcrn_export.calibration.int8_gates import (
    failures,
    passed,
    quality_gates,
    speed_gate,
)
from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.quality_scores import ClipQuality, Quality, evaluating
from frcrn_export.calibration.speed import Speed
from frcrn_export.runtime.audio.pairs import find_pairs
from frcrn_export.runtime.bundle.manifest import GateResult, Weights
from frcrn_export.runtime.bundle.reader import open_bundle
from tests.bundles import manifest, write_bundle
from tests.int8_standins import scaled

TRAINED = Weights(source="checkpoint", name="best.pt", sha256="0" * 64)
RANDOM = Weights(source="random", name="random", seed=1)
CALIBRATE = "frcrn-export calibrate b --for cpu --calib FOLDER"


def quality(
    *pesq: float | None,
    si_sdr: float = 10.0,
    stoi: float = 0.9,
    snr: float | None = 30.0,
    abrupt: float | None = 30.0,
) -> Quality:
    """A clip for each PESQ; None is a clip that has none."""
    clips = []
    for index, value in enumerate(pesq):
        scores = Scores({"si_sdr": si_sdr, "stoi": stoi})
        if value is None:
            scores.missing["pesq"] = "silent"
        else:
            scores.values["pesq"] = value
        clips.append(ClipQuality(f"clip{index}", 2.0, scores, snr))
    return Quality(tuple(clips), abrupt)


def speed(ratio: float) -> Speed:
    return Speed(ratio, ratio - 0.1, ratio + 0.1, 10.0, 10.0 / ratio, 4.0, 1, 15)


FLOAT32 = quality(2.0, 3.0)


def by_name(int8: Quality, weights: Weights = TRAINED) -> dict[str, GateResult]:
    return {gate.name: gate for gate in quality_gates(FLOAT32, int8, weights)}


def test_all_pass_at_their_limits() -> None:
    found = by_name(quality(1.9, 2.9, si_sdr=9.7, stoi=0.895, snr=20.0, abrupt=20.0))
    assert {gate.passed for gate in found.values()} == {True}
    assert {name: (gate.limit, gate.value) for name, gate in found.items()} == {
        "pesq": (0.1, 0.1),
        "si_sdr": (0.3, 0.3),
        "stoi": (0.005, 0.005),
        "core_snr": (20.0, 20.0),
        "abrupt_snr": (20.0, 20.0),
    }
    assert failures(list(found.values()), "core.int8.cpu.onnx", CALIBRATE) == []


@pytest.mark.parametrize(
    ("int8", "name", "text"),
    [
        (quality(1.9, 2.8), "pesq", "mean PESQ drop 0.15, at most 0.1 is allowed"),
        (quality(2, 3, si_sdr=9.6), "si_sdr", "mean SI-SDR drop 0.4 dB, at most 0.3 dB is allowed"),
        (quality(2, 3, stoi=0.89), "stoi", "mean STOI drop 0.01, at most 0.005 is allowed"),
        (quality(2, 3, snr=19.9), "core_snr", "mean core SNR 19.9 dB, at least 20 dB is needed"),
        (
            quality(2, 3, abrupt=19.9),
            "abrupt_snr",
            "SNR on clicks, jumps, noise 19.9 dB, at least 20 dB is needed",
        ),
        (quality(2.5, None), "pesq", "drop -0.5 of fewer clips than float32 has a value for, at"),
        (quality(None, None), "pesq", "mean PESQ drop has no value where float32 has one, at"),
    ],
)
def test_each_can_fail_alone(int8: Quality, name: str, text: str) -> None:
    found = by_name(int8)
    assert [gate.name for gate in found.values() if not gate.passed] == [name]
    assert not passed(list(found.values()))
    (line,) = failures(list(found.values()), "core.int8.cpu.onnx", CALIBRATE)
    assert line.startswith("core.int8.cpu.onnx: ")
    assert text in line
    assert line.endswith(f"let layers fall back to float: {CALIBRATE} --auto")


def test_a_gain_is_no_loss() -> None:
    found = by_name(quality(2.5, 3.5, si_sdr=12.0))
    assert found["pesq"].value == -0.5
    assert passed(list(found.values()))


def test_means_decide_and_not_the_worst_clip() -> None:
    clips = (*quality(2.0, snr=12.0).clips, *quality(3.0, snr=30.0).clips)
    found = by_name(Quality(clips))
    assert (found["core_snr"].value, found["core_snr"].passed) == (21.0, True)
    assert Quality(clips).worst.core_snr_db == 12.0


def test_what_float32_has_no_value_for_is_not_measured() -> None:
    found = {g.name: g for g in quality_gates(quality(None), quality(None), TRAINED)}
    assert (found["pesq"].value, found["pesq"].passed) == (None, None)
    assert found["si_sdr"].passed
    silent = quality(2.0, snr=None)
    assert {g.name: g.passed for g in quality_gates(silent, silent, TRAINED)}["core_snr"] is None


def test_random_weights_have_no_quality_to_lose() -> None:
    found = by_name(quality(1.0, 1.0, snr=19.0), RANDOM)
    assert [found[name].passed for name in ("pesq", "si_sdr", "stoi")] == [None, None, None]
    assert found["core_snr"].passed is False


def test_what_is_not_a_number_fails() -> None:
    found = by_name(quality(float("nan"), 3.0))
    assert (found["pesq"].value, found["pesq"].passed) == (None, False)
    msgspec.json.encode(found["pesq"])


def test_speed() -> None:
    assert speed_gate(speed(1.0)).passed is True
    slower = speed_gate(speed(0.8))
    assert (slower.limit, slower.value, slower.passed) == (1.0, 0.8, False)
    assert failures([slower], "a.onnx", CALIBRATE) == [
        "a.onnx: speed against float 0.8x, at least 1x is needed; "
        f"to keep it anyway, run: {CALIBRATE} --allow-slower"
    ]
    unknown = speed_gate(None)
    assert (unknown.value, unknown.passed) == (None, None)
    assert passed([unknown])


def test_a_search_that_failed_needs_something_else() -> None:
    gates = list(by_name(quality(1.0, 1.0)).values())
    (line,) = failures(gates, "a.onnx", f"{CALIBRATE} --auto")
    assert line.endswith(
        f"try another method or more recordings: {CALIBRATE} --auto --method percentile"
    )


@pytest.mark.parametrize(("factor", "passes"), [(1.05, True), (1.3, False)])
def test_from_files_to_gates(
    tmp_path: Path, pairs_folder: Path, factor: float, passes: bool
) -> None:
    root = write_bundle(tmp_path / "b", msgspec.structs.replace(manifest(), weights=TRAINED))
    bundle = open_bundle(root)
    (entry,) = bundle.manifest.files
    with evaluating(bundle, entry, find_pairs(pairs_folder)) as evaluator:
        int8 = evaluator(scaled(onnx.load(root / entry.path), factor).SerializeToString())
    gates = quality_gates(evaluator.float32, int8, bundle.manifest.weights)
    assert passed(gates) is passes
    failed = [gate.name for gate in gates if gate.passed is False]
    assert failed == ["core_snr"] * (not passes)
