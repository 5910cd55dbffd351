import pytest

from frcrn_export.runtime.bench import peaks
from frcrn_export.runtime.bench.peaks import Peaks, cache_gbytes, measure_peaks

PEAKS = Peaks(gflops=100.0, int8_gops=400.0, memory_gbytes=20.0, cache_gbytes=80.0)
SECOND, BILLION = 1.0, 10**9


@pytest.mark.parametrize(
    ("operations", "moved", "in_8_bits", "share", "in_cache"),
    [
        (50, 1, False, 0.5, False),  # bound by products
        (50, 1, True, 0.125, False),
        (10, 15, False, 0.75, False),  # by memory
        (0, 10, False, 0.5, False),
        (10, 40, False, 0.5, True),  # more than memory could move
        (90, 40, False, 0.9, True),
    ],
)
def test_the_share_of_what_is_attainable(
    operations: int, moved: int, in_8_bits: bool, share: float, in_cache: bool
) -> None:
    found = PEAKS.reached(operations * BILLION, moved * BILLION, SECOND, in_8_bits=in_8_bits)
    assert found == (pytest.approx(share), in_cache)


def test_a_cache_of_unknown_bandwidth_leaves_the_share_above_one() -> None:
    unknown = Peaks(gflops=100.0, int8_gops=400.0, memory_gbytes=20.0, cache_gbytes=0.0)
    assert unknown.reached(0, 40 * BILLION, SECOND, in_8_bits=False) == (2.0, False)


def test_this_machine_has_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_REPEATS", 2)
    monkeypatch.setattr(peaks, "_COPY_BYTES", 1 << 22)
    monkeypatch.setattr(peaks, "cache_bytes", lambda: 1 << 19)
    found = measure_peaks(2)
    assert min(found.gflops, found.int8_gops, found.memory_gbytes, found.cache_gbytes) > 0.01


def test_a_cache_of_unknown_size_has_no_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "cache_bytes", lambda: None)
    assert cache_gbytes(1) == 0.0
