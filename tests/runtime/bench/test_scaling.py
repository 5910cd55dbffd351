import msgspec
import pytest

from frcrn_export.runtime.bench.cases import Wanted
from frcrn_export.runtime.bench.result import Row
from frcrn_export.runtime.bench.scaling import (
    LENGTHS,
    STREAMS,
    measure_scaling,
    scaling_wanted,
    slopes,
    thread_gains,
)
from frcrn_export.runtime.bundle.reader import Bundle
from tests.runtime.bench import results


def line(exponent: float, *, kind: str = "offline", fixed: float = 0.0) -> list[Row]:
    return [
        msgspec.structs.replace(
            results.row(fixed + 10.0 * amount**exponent, kind=kind),  # type: ignore[arg-type]
            audio_seconds=amount,
            batch=int(amount) if kind == "hops" else 1,
        )
        for amount in (1.0, 4.0, 16.0, 64.0)
    ]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_line(exponent: float) -> None:
    (found,) = slopes(line(exponent))
    assert found.exponent == pytest.approx(exponent, abs=0.01)
    assert (found.along, found.points, found.least, found.most) == ("length", 4, 1, 64)


def test_what_one_more_adds_besides_a_fixed_cost() -> None:
    (found,) = slopes(line(1.0, kind="hops", fixed=30.0))
    assert found.along == "streams"
    assert found.each_ms == pytest.approx(10.0, rel=0.05)
    assert found.exponent < 0.9


def test_two_points_are_no_line() -> None:
    assert list(slopes(line(1.0)[:2])) == []
    assert list(slopes([results.row(None)] * 5)) == []


def test_gains_of_threads() -> None:
    one = results.row(20.0)
    two = msgspec.structs.replace(results.row(12.5), threads=2)
    other = msgspec.structs.replace(results.row(1.0), threads=2, audio_seconds=9.0)
    ((_, row, gain),) = thread_gains([one, two, other])
    assert row is two
    assert gain == pytest.approx(1.6, rel=0.01)


def test_a_scaling_run_times_what_it_has_time_for(small_wave_bundle: Bundle) -> None:
    wanted = scaling_wanted(Wanted(threads=(1,)))
    assert (wanted.lengths, wanted.streams) == (LENGTHS, STREAMS)
    rows, left_out = measure_scaling(small_wave_bundle, wanted, seconds=3.0)
    lengths = [row.audio_seconds for row in rows if row.kind == "offline"]
    assert lengths[:3] == [1.0, 4.0, 15.0]
    assert len(lengths) + len([key for key in left_out if "pipeline" in key]) == len(LENGTHS)
    for label, why in left_out.items():
        assert "to time it: frcrn-export bench" in why, label
    assert {slope.along for slope in slopes(rows)} == {"length", "streams"}
