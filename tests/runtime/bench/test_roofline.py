from pathlib import Path

import pytest

from frcrn_export.runtime.bench import roofline
from frcrn_export.runtime.bench.roofline import (
    bandwidth_gbytes,
    measure_rooflines,
    peak_gflops,
    peak_int8_gops,
)
from frcrn_export.runtime.bundle.graph_cost import graph_cost
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import UserError
from tests.bundles import write_bundle


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_REPEATS", 2)
    monkeypatch.setattr(roofline, "_COPY_BYTES", 1 << 22)


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


def test_the_machine_has_peaks() -> None:
    assert peak_gflops(1) > 0.1
    assert peak_int8_gops(1) > 0.1
    assert bandwidth_gbytes(2) > 0.01


def test_a_bundle_without_a_core_for_processors(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b", formats=("torchscript",))
    with pytest.raises(UserError, match="no ONNX core"):
        measure_rooflines(open_bundle(root), 1)
