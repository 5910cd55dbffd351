import sys
from pathlib import Path

import pytest

from frcrn_export.runtime.bench.counters import count
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError, UserError
from tests.bundles import replace_core, write_bundle
from tests.runtime.commands.test_inspect import masking


def test_the_counters_of_a_bundle(small_wave_bundle: Bundle) -> None:
    found = {each.path: each for each in count(small_wave_bundle)}
    assert set(found) == {
        "core.onnx",
        "core.fp16.onnx",
        "core.streaming.onnx",
        "core.streaming.fp16.onnx",
    }
    core, streaming = found["core.onnx"], found["core.streaming.onnx"]
    assert core.bytes == (small_wave_bundle.path / "core.onnx").stat().st_size
    assert core.flop
    assert (core.calls, core.state_bytes) == (1.0, 0)
    assert streaming.calls > 1
    assert streaming.state_bytes > 0
    # ReLU moves into the convolution before it.
    assert core.optimised["com.microsoft.FusedConv"] > 0
    assert sum(core.optimised.values()) < sum(core.operators.values())
    assert found["core.fp16.onnx"].optimised == {}  # made for GPUs


def test_an_engine_counts_layers(engine_bundle: Path) -> None:
    found = {each.path: each for each in count(open_bundle(engine_bundle))}
    engine = next(each for each in found.values() if each.format == "engine")
    assert "Half" in engine.layers["Conv"]
    assert engine.operators == {}
    assert engine.activation_bytes
    assert engine.weights_bytes
    assert found["core.onnx"].activation_bytes is None


def test_a_graph_that_onnx_runtime_cannot_load(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b")
    replace_core(root, masking("Strange", "elsewhere"))
    with pytest.raises(BackendError, match="core.onnx: ONNX Runtime cannot optimise it"):
        list(count(open_bundle(root)))


def test_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"frcrn-export\[bench\]"):
        list(count(bundle))
