from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bench.cases import Call, Case, Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.measure import time_cases
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from tests.bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(write_bundle(tmp_path / "b"))


def cases_of(bundle: Bundle) -> list[Case]:
    wanted = Wanted(kinds=("offline", "core"), threads=(1,), lengths=(0.25,), batches=(1, 2))
    return find_cases(bundle, wanted).cases


def test_rows_come_in_the_order_of_their_cases(bundle: Bundle) -> None:
    cases = cases_of(bundle)
    timing = time_cases(bundle, cases, speech_of(bundle), seconds=0.5)
    assert [(row.kind, row.batch) for row in timing.rows] == [
        (case.kind, case.batch) for case in cases
    ]
    for row in timing.rows:
        assert row.summary is not None
        assert row.summary.median == pytest.approx(np.median(row.samples))
        assert row.processor_ms > 0
        assert not row.failed
    assert len(timing.anchors) >= 2


def test_every_row_has_a_round_even_without_time(bundle: Bundle) -> None:
    timing = time_cases(bundle, cases_of(bundle), speech_of(bundle), seconds=0.0)
    assert all(len(row.rounds) == 1 for row in timing.rows)


def test_a_session_that_fails_ends_its_own_row(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    opened = Case.open

    def open_(case: Case, *given: object) -> Call:
        call = opened(case, *given)  # type: ignore[arg-type]

        def failing() -> object:
            nonlocal calls
            calls += 1
            if calls > 20:
                raise RuntimeError("the device is lost")
            return call()

        return failing if case.batch == 2 else call

    monkeypatch.setattr(Case, "open", open_)
    monkeypatch.setattr("frcrn_export.runtime.bench.measure._WARM_UP_SECONDS", 0.0)
    timing = time_cases(bundle, cases_of(bundle), speech_of(bundle), seconds=0.3)
    broken = [row for row in timing.rows if row.failed]
    assert [(row.batch, row.failed) for row in broken] == [(2, "the device is lost")]
    assert broken[0].summary is not None  # of the calls before
    assert all(row.summary is not None for row in timing.rows)


def test_a_session_that_does_not_open(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_(case: Case, *given: object) -> Call:
        raise MemoryError

    monkeypatch.setattr(Case, "open", open_)
    timing = time_cases(bundle, cases_of(bundle), speech_of(bundle), seconds=0.1)
    assert all("memory" in row.failed and row.summary is None for row in timing.rows)
