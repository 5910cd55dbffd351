from pathlib import Path

import pytest

from frcrn_export.runtime.bench import peaks, roofline
from frcrn_export.runtime.bench.peaks import Peaks
from frcrn_export.runtime.bench.roofline import measure_rooflines
from frcrn_export.runtime.bundle.graph_cost import graph_cost
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import UserError
from tests.bundles import write_bundle


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_REPEATS", 2)
    monkeypatch.setattr(peaks, "_COPY_BYTES", 1 << 22)


def test_all_operations_of_a_core_are_found_in_its_layers(small_wave_bundle: Bundle) -> None:
    """The rates and times of the layers multiply to what the graph costs."""
    by_path = {each.path: each for each in measure_rooflines(small_wave_bundle, 1)}
    assert set(by_path) == {"core.onnx", "core.streaming.onnx"}
    core = by_path["core.onnx"]
    operations = sum(layer.gflops * layer.ms * 1e6 for layer in core.layers)
    cost = graph_cost(small_wave_bundle.path / "core.onnx", {"batch": 1, "samples": 16_000})
    assert cost.flop is not None
    assert operations == pytest.approx(cost.flop, rel=0.01)
    assert sum(layer.share for layer in core.layers) == pytest.approx(1.0)
    times = [layer.ms for layer in core.layers]
    assert times == sorted(times, reverse=True)
    assert any(layer.operator == "FusedConv" for layer in core.layers)


def test_layers_that_move_bytes_have_no_operations(small_wave_bundle: Bundle) -> None:
    (streaming,) = measure_rooflines(small_wave_bundle, 1, ("core.streaming.onnx",))
    moved = [layer for layer in streaming.layers if layer.operator == "Concat"]
    assert moved
    assert all(layer.gflops == 0 and layer.gbytes > 0 for layer in moved)


@pytest.mark.parametrize("cache_gbytes", [0.0, 1e3])
def test_layers_that_move_more_than_memory_could_are_in_a_cache(
    cache_gbytes: float, small_wave_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory as slow as this one none of them reads."""
    slow = Peaks(gflops=1e6, int8_gops=1e6, memory_gbytes=1e-9, cache_gbytes=cache_gbytes)
    monkeypatch.setattr(roofline, "measure_peaks", lambda threads: slow)
    (core,) = measure_rooflines(small_wave_bundle, 1, ("core.onnx",))
    assert core.cache_gbytes == cache_gbytes
    moving = [layer for layer in core.layers if layer.gbytes]
    assert moving
    for layer in moving:
        assert layer.in_cache is bool(cache_gbytes)
        if cache_gbytes:
            expected = max(layer.gbytes / cache_gbytes, layer.gflops / 1e6)
            assert layer.reached == pytest.approx(expected)
            assert layer.attained == f"{100 * expected:.0f} %, in a cache"
        else:
            assert layer.attained == "in a cache"


def test_a_bundle_without_a_core_for_processors(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b", formats=("torchscript",))
    with pytest.raises(UserError, match="no ONNX core"):
        measure_rooflines(open_bundle(root), 1)
