"""The committed baseline of `make regression`, and what is printed beside it."""

import re

import pytest

from benchmarks.baseline import BASELINE, baseline_of, ratios
from frcrn_export.runtime.bench.result import read_result
from frcrn_export.runtime.bundle.reader import Bundle


def test_the_committed_baseline_says_why_it_is_as_it_is() -> None:
    result = read_result(BASELINE)
    assert len(result.note.split()) >= 3
    assert {each.path for each in result.files} == {"core.onnx", "core.streaming.onnx"}
    assert all(each.optimised for each in result.files)
    assert len(result.parity) == 16
    assert all(each.passed for each in result.parity)
    assert {row.kind for row in result.rows} == {"offline", "hop"}


def test_times_over_those_of_a_baseline(
    small_wave_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frcrn_export.runtime.bench.bench.PACED_SECONDS", 0.1)
    base = baseline_of(small_wave_bundle, "because", seconds=0.2)
    assert base.note == "because"
    assert all(row.summary is not None and not row.rounds for row in base.rows)
    line = ratios(base, small_wave_bundle, seconds=0.2)
    assert re.fullmatch(
        r"times over the baseline's, not asserted: "
        r"core\.onnx pipeline \d+\.\d\d, core\.streaming\.onnx hop of 16 ms \d+\.\d\d",
        line,
    )
