from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import onnx
import pytest

from frcrn_export.calibration import result
from frcrn_export.calibration.calibrate import make_plan
from frcrn_export.calibration.graph.signals import Signal
from frcrn_export.calibration.int8_report import Report
from frcrn_export.calibration.plan import Plan, Settings
from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.result import add_to_bundle, make_report
from frcrn_export.calibration.search import Point, Search
from frcrn_export.runtime.bundle.manifest import GateResult, ParityResult
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import UserError
from tests.bundles import replace_core, write_manifest
from tests.calibration.bundles import KEPT, LAYERS, SIGNALS, contents, speed
from tests.calibration.reports import quality, worst

pytestmark = pytest.mark.usefixtures("no_pictures")

FLOAT32 = quality(2.5, None)
GATES = (
    GateResult(name="core_snr", limit=20.0, value=30.0, passed=True),
    GateResult(name="speed", limit=1.0, value=2.0, passed=True),
)
SHARED = "analysis.out"
CHOSEN = frozenset([SHARED, "encoder.out", "grouped.out"])
SLOWER = (GATES[0], GateResult(name="speed", limit=1.0, value=0.5, passed=False))


@pytest.fixture
def plan(masking_bundle: Path, clips_folder: Path, held_out: Path) -> Plan:
    settings = Settings("cpu", (clips_folder,), pairs=held_out, seed=4, method="percentile")
    return make_plan(open_bundle(masking_bundle), settings, None, lambda *step: None)


def searched() -> Search:
    """Of four layers two fall back to float, one more than it takes in another trial."""
    points = [
        Point(frozenset(SIGNALS), quality(2.0, 15.0), passed=False),
        Point(frozenset([SHARED, "encoder.out"]), quality(2.45, 40.0), passed=True),
        Point(CHOSEN, quality(2.4, 30.0), passed=True),
    ]
    return Search(points, {"parallel.out": 12.0, "encoder.out": 33.0})


def reported(plan: Plan, gates: tuple[GateResult, ...] = GATES) -> Report:
    evaluator: Any = SimpleNamespace(noisy=(Scores(), Scores()), float32=FLOAT32)
    search = searched()
    qualities = {"fp32": FLOAT32, "int8": search.quality}
    return make_report(plan, evaluator, search, qualities, speed(2.0), gates)


def test_how_the_file_was_made(plan: Plan) -> None:
    made = reported(plan).quantization
    assert (made.target, made.method, made.seed) == ("cpu", "percentile", 4)
    assert (made.clips, made.clips_sha256) == (2, plan.clips.sha256)
    assert (made.layers, made.candidates) == (2, 4)
    assert (made.gates, made.kept_slower) == (GATES, False)
    assert reported(plan, SLOWER).quantization.kept_slower is True


def test_shares_are_of_all_multiplications(plan: Plan) -> None:
    """Also of the transposed one, which cannot be in 8 bits."""
    report = reported(plan)
    shares = {row.name: row.share for row in report.layers}
    assert 0.9 < sum(shares.values()) < 1
    assert 0.7 < sum(shares[name] for name in LAYERS) < 0.9
    assert report.quantization.share == pytest.approx(shares["encoder"] + shares["grouped"])
    assert shares["encoder"] == pytest.approx(48 / 32 * 3 * shares["parallel"])


def test_what_each_layer_did(plan: Plan) -> None:
    rows = {row.name: row for row in reported(plan).layers}
    assert [name for name, row in rows.items() if row.int8] == ["encoder", "grouped"]
    assert {row.reason for row in rows.values() if row.int8} == {""}
    reasons = {name: row.reason for name, row in rows.items() if not row.int8}
    back = dict.fromkeys(["depthwise", "parallel"], "the search lets it fall back to float")
    assert reasons == {**KEPT, **back}
    assert {row.sensitivity_db for row in rows.values()} == {
        None
    }  # that of signals is with the ranges


def test_sensitivities_of_layers_for_tensorrt(
    masking_bundle: Path, clips_folder: Path, held_out: Path
) -> None:
    settings = Settings("tensorrt", (clips_folder,), pairs=held_out)
    plan = make_plan(open_bundle(masking_bundle), settings, None, lambda *step: None)
    evaluator: Any = SimpleNamespace(noisy=(Scores(), Scores()), float32=FLOAT32)
    points = [Point(frozenset(["encoder"]), quality(2.4, 30.0), passed=True)]
    search = Search(points, {"parallel": 12.0, "encoder": 33.0})
    qualities = {"fp32": FLOAT32, "int8": search.quality}
    report = make_report(plan, evaluator, search, qualities, None, GATES)
    rows = {row.name: row for row in report.layers}
    assert [name for name, row in rows.items() if row.int8] == ["encoder"]
    assert (rows["encoder"].sensitivity_db, rows["parallel"].sensitivity_db) == (33.0, 12.0)
    assert [(each.tensor, each.sensitivity_db) for each in report.ranges] == [("shared", None)]


def test_the_search_in_its_order(plan: Plan) -> None:
    report = reported(plan)
    assert [point.passed for point in report.search] == [False, True, True]
    assert [point.chosen for point in report.search] == [False, False, True]
    shares = [point.share for point in report.search]
    assert shares[1] < shares[2] == report.quantization.share < shares[0]
    assert report.search[0].pesq_drop == pytest.approx(0.5)
    assert report.search[0].core_snr_db == pytest.approx((15.0 + 7.5) / 2)


def test_ranges_of_what_is_in_int8(plan: Plan) -> None:
    ranges = {each.tensor: each for each in reported(plan).ranges}
    assert set(ranges) == CHOSEN
    observed = {s.name: s.observed for s in plan.quantizer.candidates if isinstance(s, Signal)}
    for name, each in ranges.items():
        (tensor,) = observed[name]
        assert (each.low, each.high) == (plan.ranges[tensor].low, plan.ranges[tensor].high)
        assert each.low <= each.chosen_low <= 0 <= each.chosen_high <= each.high
    assert ranges[SHARED].chosen_high < ranges[SHARED].high  # a percentile cuts
    assert {name: each.sensitivity_db for name, each in ranges.items()} == {
        SHARED: None,
        "encoder.out": 33.0,
        "grouped.out": None,
    }


def test_too_few_recordings_are_in_the_report(plan: Plan) -> None:
    (warning,) = reported(plan).warnings
    assert warning.startswith("2 calibration clips; ranges need 32 or more")


def test_all_else_in_the_bundle_stays(plan: Plan) -> None:
    root = plan.bundle.path
    parity = [
        ParityResult(artifact=name, case="a", snr_db=30, max_abs=0.1, floor_db=20, passed=True)
        for name in ("core.onnx", "core.int8.cpu.onnx")
    ]
    write_manifest(root, msgspec.structs.replace(plan.bundle.manifest, parity=tuple(parity)))
    (root / "notes.txt").write_text("mine")
    before = contents(root)
    again = Plan(**{**vars(plan), "bundle": open_bundle(root)})
    content = plan.quantized(CHOSEN)
    add_to_bundle(again, content, reported(plan), worst())
    after = contents(root)
    made, asked = (onnx.load_from_string(c) for c in (after["core.int8.cpu.onnx"], content))
    assert made.graph == asked.graph
    properties = {each.key: each.value for each in made.metadata_props}
    assert properties["frcrn_export.file.precision"] == '"int8"'
    assert all(after[name] == before[name] for name in before if name != "manifest.json")
    manifest = open_bundle(root).manifest
    assert [each.path for each in manifest.files] == [
        "core.onnx",
        "core.fp16.onnx",
        "core.int8.cpu.onnx",
        "core.int8.cpu.quality.json",
        "core.int8.cpu.quality.md",
        "core.int8.cpu.worst.png",
    ]
    assert manifest.parity == (parity[0],)  # the other was of another file of that name
    assert json.loads(after["core.int8.cpu.quality.json"])["warnings"] == list(
        reported(plan).warnings
    )


def test_what_another_command_added_meanwhile_stays(
    plan: Plan, clips_folder: Path, held_out: Path
) -> None:
    settings = Settings("tensorrt", (clips_folder,), pairs=held_out)
    other = make_plan(plan.bundle, settings, None, lambda *step: None)
    # Both began with the same bundle.
    for each, names in ((plan, CHOSEN), (other, frozenset(["encoder", "grouped"]))):
        report = dataclasses.replace(reported(plan), file=each.file)
        add_to_bundle(each, each.quantized(names), report, worst())
    manifest = open_bundle(plan.bundle.path).manifest
    paths = [each.path for each in manifest.files if each.quantization]
    assert paths == ["core.int8.cpu.onnx", "core.int8.onnx"]


def test_a_bundle_that_became_another_meanwhile_is_left_alone(plan: Plan) -> None:
    root = plan.bundle.path
    replace_core(root, (root / "core.onnx").read_bytes() + b"\0")
    before = contents(root)
    with pytest.raises(UserError, match="changed while it was used; run the command again"):
        add_to_bundle(plan, plan.quantized(["encoder.out"]), reported(plan), worst())
    assert contents(root) == before


def test_a_full_disk_leaves_the_bundle_as_it_was(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(result, "report_files", full)
    before = contents(plan.bundle.path)
    with pytest.raises(UserError, match="No space left on device, what was there is unchanged"):
        add_to_bundle(plan, plan.quantized(["encoder.out"]), reported(plan), worst())
    assert contents(plan.bundle.path) == before
