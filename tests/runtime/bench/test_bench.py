import msgspec
import pytest

from frcrn_export.runtime.bench.bench import bench
from frcrn_export.runtime.bench.cases import Wanted
from frcrn_export.runtime.bench.page import result_page
from frcrn_export.runtime.bench.pictures import pictures
from frcrn_export.runtime.bench.result import LayerRate, Result, Roofline
from frcrn_export.runtime.bundle.reader import Bundle


@pytest.fixture(scope="module")
def measured(small_wave_bundle: Bundle) -> Result:
    wanted = Wanted(threads=(1,), lengths=(0.25, 0.5), batches=(1,), streams=(2,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frcrn_export.runtime.bench.bench.PACED_SECONDS", 0.2)
        return bench(small_wave_bundle, wanted, seconds=1.0, note="why")


def test_a_run_has_all_its_parts(measured: Result) -> None:
    assert {row.kind for row in measured.rows} == {"offline", "core", "hop", "hops"}
    assert all(row.summary is not None and not row.failed for row in measured.rows)
    (hop,) = (row for row in measured.rows if row.kind == "hop")
    assert hop.paced is not None
    assert hop.paced.hops == 13  # of 16 ms
    assert {start.path for start in measured.cold} == {"core.onnx", "core.streaming.onnx"}
    for start in measured.cold:
        assert start.load_ms > 0
        assert start.first_ms > 0
        assert start.peak_bytes is None or start.peak_bytes > 20e6
    assert measured.parity
    assert all(each.passed for each in measured.parity)
    assert measured.note == "why"
    assert set(measured.left_out) == {"core.fp16.onnx", "core.streaming.fp16.onnx"}


def test_counters_alone_are_the_same_every_time(small_wave_bundle: Bundle) -> None:
    first, second = (bench(small_wave_bundle, Wanted(), "counters") for _ in range(2))
    assert first.files == second.files
    assert first.parity == second.parity
    assert first.rows == first.cold == ()


def test_the_page_needs_nothing_beside_it(measured: Result) -> None:
    page = result_page(measured)
    assert page.count("<svg") == len(list(pictures(measured))) == 4
    for reference in ('src="', 'href="http', "@import", "url(http"):
        assert reference not in page
    for row in measured.rows:
        assert row.command.replace("'", "&#x27;") in page


def test_pictures_of_what_is_there(measured: Result) -> None:
    titles = [title for title, _ in pictures(measured)]
    assert [title.split()[0] for title in titles] == ["Latency:", "Quality", "Cost", "Cost"]


def test_the_layers_as_a_picture(measured: Result) -> None:
    layers = tuple(
        LayerRate(name=f"n{n}", operator="Conv", ms=n, share=0.1, gflops=1, gbytes=1, reached=n / 5)
        for n in range(1, 9)
    )
    roofline = Roofline(
        path="core.onnx",
        threads=1,
        peak_gflops=100,
        peak_int8_gops=400,
        bandwidth_gbytes=10,
        total_ms=36,
        layers=layers,
    )
    found = dict(pictures(msgspec.structs.replace(measured, rows=(), rooflines=(roofline,))))
    (svg,) = found.values()
    assert "in a cache" in svg
    assert ">20 %<" in svg.replace("> 20", ">20")
