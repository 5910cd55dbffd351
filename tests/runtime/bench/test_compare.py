import shutil
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.cases import Call, Case, Wanted
from frcrn_export.runtime.bench.compare import compare_bundles
from frcrn_export.runtime.bench.paired import Opener, Timer, compare_times
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import UserError
from tests.bundles import manifest, write_bundle

OFFLINE = Wanted(kinds=("offline",), threads=(1,), lengths=(0.1,))


@pytest.fixture
def base(tmp_path: Path) -> Bundle:
    return open_bundle(write_bundle(tmp_path / "base"))


@pytest.fixture
def new(tmp_path: Path) -> Bundle:
    return open_bundle(write_bundle(tmp_path / "new"))


def sleeping(bundle: Bundle, seconds: float, otherwise: float) -> Opener:
    """Calls that take this long in one bundle; sleep is as exact as this needs."""

    def open_(case: Case, given: Bundle, speech: Float32Array) -> Call:
        wait = seconds if given is bundle else otherwise
        return lambda: time.sleep(wait)

    return open_


def failing(bundle: Bundle, after: int) -> Opener:
    def open_(case: Case, given: Bundle, speech: Float32Array) -> Call:
        left = after if given is bundle else 10**9
        if left == 0:
            raise RuntimeError("no memory on the device")

        def call() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise RuntimeError("the device is lost")
            time.sleep(0.002)

        return call

    return open_


def test_a_session_that_is_slower_is_found(base: Bundle, new: Bundle) -> None:
    timer = Timer(base, new, 0.03, budget=4.0, open_case=sleeping(new, 0.010, 0.005))
    (row,), _ = compare_times(timer, OFFLINE, lambda *_: None)
    assert (row.verdict, row.failed) == ("slower", True)
    assert row.ratio is not None
    assert row.ratio > 1.5
    assert "3 % are allowed" in row.why


def test_one_that_is_faster_passes(base: Bundle, new: Bundle) -> None:
    timer = Timer(base, new, 0.03, budget=4.0, open_case=sleeping(new, 0.005, 0.010))
    (row,), _ = compare_times(timer, OFFLINE, lambda *_: None)
    assert (row.verdict, row.failed) == ("faster", False)


@pytest.mark.parametrize("after", [0, 30])
def test_a_session_that_fails(after: int, base: Bundle, new: Bundle) -> None:
    timer = Timer(base, new, 0.03, budget=2.0, open_case=failing(new, after))
    (row,), _ = compare_times(timer, OFFLINE, lambda *_: None)
    assert (row.verdict, row.failed) == ("broken", True)
    assert row.why.startswith("the new file fails: ")
    timer = Timer(base, new, 0.03, budget=2.0, open_case=failing(base, after))
    (row,), _ = compare_times(timer, OFFLINE, lambda *_: None)
    assert not row.failed
    assert row.why.startswith("the base file fails: ")


def test_a_bundle_with_itself(small_wave_bundle: Bundle) -> None:
    found = compare_bundles(small_wave_bundle, small_wave_bundle, budget=1.0)
    assert {row.path for row in found.rows} == {"core.onnx", "core.streaming.onnx"}
    assert found.counters == ()
    assert found.parity
    assert all(each.outcome == "same" for each in found.parity)
    for row in found.rows:
        assert row.verdict in ("same", "undecided", "faster", "slower")
        assert row.openings >= 10
        assert row.blocks >= row.openings


def noisy(seconds: float) -> Opener:
    """Each opened call takes another time, whichever bundle it is of."""
    waits = count()

    def open_(case: Case, given: Bundle, speech: Float32Array) -> Call:
        wait = seconds * (1 + 0.3 * (next(waits) == 1))
        return lambda: time.sleep(wait)

    return open_


def test_less_than_this_machine_can_tell(base: Bundle, new: Bundle) -> None:
    timer = Timer(base, new, 0.001, budget=1.0, open_case=noisy(0.005))
    (row,), (note, *_) = compare_times(timer, OFFLINE, lambda *_: None)
    assert not row.failed
    assert "more than the 0.1 % that are allowed" in note
    assert "--max-slowdown" in note
    assert "--max-slowdown" in note


def test_a_machine_that_throttles_is_said(
    base: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = iter([1.0, 1.0, 1.0, 1.4, 1.4, 1.4])
    monkeypatch.setattr("frcrn_export.runtime.bench.paired.anchor_ms", lambda: next(speed))
    wanted = Wanted(kinds=("offline",), threads=(1,), lengths=(0.1, 0.2, 0.3, 0.4, 0.5))
    timer = Timer(base, new, 0.03, budget=0.1, open_case=sleeping(new, 0.001, 0.001))
    notes = compare_times(timer, wanted, lambda *_: None)[1]
    assert any("40 % slower in one half of this run" in note for note in notes)


def test_without_a_budget_nothing_is_timed(base: Bundle, new: Bundle) -> None:
    assert compare_bundles(base, new, budget=0.0).rows == ()


def test_a_file_that_is_lost_fails(small_wave_bundle: Bundle, tmp_path: Path) -> None:
    import msgspec

    root = Path(shutil.copytree(small_wave_bundle.path, tmp_path / "less"))
    described = small_wave_bundle.manifest
    kept = tuple(entry for entry in described.files if entry.role != "core_streaming")
    (root / "manifest.json").write_bytes(msgspec.structs.replace(described, files=kept).to_json())
    found = compare_bundles(small_wave_bundle, open_bundle(root), budget=0.0)
    assert "core.streaming.onnx: lost" in found.failures


def test_two_models_are_refused(base: Bundle, small_wave_bundle: Bundle) -> None:
    with pytest.raises(UserError, match="is of gain, .* of wave-unet-16k; compare versions"):
        compare_bundles(base, small_wave_bundle)


def test_quality_on_pairs(tmp_path: Path) -> None:
    """A core that adds nothing has the input's SI-SDR; one that mutes the half of it has less."""
    rng = np.random.default_rng(0)
    clean = rng.standard_normal(8000).astype(np.float32) * 0.1
    noisy = clean + rng.standard_normal(8000).astype(np.float32) * 0.01
    bundle = open_bundle(write_bundle(tmp_path / "b", manifest()))
    found = compare_bundles(bundle, bundle, budget=0.0, pairs=[(noisy, clean)])
    (quality,) = found.quality
    assert quality.base_db == quality.new_db == pytest.approx(20.0, abs=0.5)
    assert quality.outcome == "same"
