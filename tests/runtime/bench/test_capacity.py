from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bench.capacity import (
    mark_front,
    measure_capacity,
    recommended,
    search,
    worst_snr,
)
from frcrn_export.runtime.bench.cases import Wanted
from frcrn_export.runtime.bench.result import CapacityRow
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.processors import usable_processors
from tests.int8_standins import add_int8
from tests.streaming_bundles import Core, write_streaming_bundle

ROW = CapacityRow(
    bundle="b",
    path="core.streaming.onnx",
    precision="fp32",
    backend="onnxruntime-cpu",
    threads=1,
    workers=2,
    streams=8,
    hop_ms=8.0,
    p99_ms=7.0,
    single_ms=1.0,
    delay_ms=8.0,
    processor_share=0.1,
    snr_db=100.0,
    missed=0,
    hops=100,
)


def row(**changes: object) -> CapacityRow:
    return msgspec.structs.replace(ROW, **changes)


def counted() -> tuple[Callable[[int], int], list[int]]:
    """A probe that gives the number itself, and what it was asked for."""
    asked: list[int] = []

    def probe(streams: int) -> int:
        asked.append(streams)
        return streams

    return probe, asked


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 15, 100, 1000])
def test_the_search_finds_the_largest_number(limit: int) -> None:
    probe, asked = counted()
    found, last = search(probe, lambda streams: streams <= limit, 1, 1024)  # type: ignore[arg-type, operator]
    assert limit - max(1, limit // 16) <= found <= limit
    assert last == found
    assert len(asked) <= 20


def test_the_search_ends_at_the_most() -> None:
    probe, asked = counted()
    found, _ = search(probe, lambda _: True, 1, 24)  # type: ignore[arg-type]
    assert found == 24
    assert asked == [1, 2, 4, 8, 16, 24]


def test_not_even_one() -> None:
    probe, asked = counted()
    assert search(probe, lambda _: False, 8, 8)[0] == 0  # type: ignore[arg-type]
    assert asked == [8]


def test_the_front_of_delay_processor_time_and_quality() -> None:
    rows = mark_front(
        [
            row(),  # beaten by the next in processor time alone
            row(processor_share=0.05),
            row(delay_ms=16.0, processor_share=0.04),  # more delay, less time
            row(delay_ms=16.0, processor_share=0.06),  # more of both
            row(precision="int8", snr_db=40.0, processor_share=0.02),
            row(processor_share=0.01, streams=0),  # holds none
        ]
    )
    assert [each.on_front for each in rows] == [False, True, True, False, True, False]


def test_equal_ways_are_both_on_the_front() -> None:
    assert all(each.on_front for each in mark_front([row(), row(threads=2)]))


def test_the_recommended_way_holds_the_most_streams() -> None:
    rows = mark_front([row(), row(delay_ms=16.0, processor_share=0.05, streams=20)])
    best = recommended(rows)
    assert best is not None
    assert best.streams == 20
    assert recommended(mark_front([row(streams=0)])) is None


def test_the_ways_of_a_bundle(small_wave_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frcrn_export.runtime.bench.capacity._PROBE_SECONDS", 0.02)
    monkeypatch.setattr("frcrn_export.runtime.bench.capacity._PACED_SECONDS", 0.02)
    monkeypatch.setattr("frcrn_export.runtime.bench.capacity._MOST_STREAMS", 2)
    rows = measure_capacity([small_wave_bundle], Wanted())
    processors = usable_processors()
    assert {(each.threads, each.workers) for each in rows} == {(1, processors), (processors, 1)}
    for each in rows:
        assert not each.failed
        assert each.delay_ms == pytest.approx(16.0)
        assert each.processor_share > 0
        assert each.snr_db > 90
        assert "max_streams=" in each.command or "--threads" in each.command


def test_models_are_not_mixed(small_wave_bundle: Bundle, tmp_path: Path) -> None:
    root = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=32), stft=None)
    other = open_bundle(root)
    with pytest.raises(UserError, match="one model at a time"):
        measure_capacity([small_wave_bundle, other], Wanted())


def test_the_quality_of_a_quantized_file_is_that_of_its_gate(tmp_path: Path) -> None:
    root = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=32), stft=None)
    (streaming,) = open_bundle(root).manifest.files
    entry = add_int8(root, lambda model: model, source=streaming.path)
    assert worst_snr(open_bundle(root), entry) == 13.5
    assert worst_snr(open_bundle(root), streaming) == 0.0
