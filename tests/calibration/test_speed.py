from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from frcrn_export.calibration.speed import Speed, measure_speed
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from tests.bundles import write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle

WAVE = np.ones(16_000, np.float32)


def slower(model: onnx.ModelProto, times: int) -> bytes:
    """A model whose output goes through so many sines, which are no shortcut for anything."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [f"{name}.0" if name == output else name for name in node.output]
    for step in range(times):
        target = output if step == times - 1 else f"{output}.{step + 1}"
        model.graph.node.append(helper.make_node("Sin", [f"{output}.{step}"], [target]))
    return model.SerializeToString()


def measured(bundle: Bundle, times: int = 0, repetitions: int = 3) -> Speed:
    (entry,) = bundle.manifest.files
    content = bundle.file(entry).read_bytes()
    model = slower(onnx.load_from_string(content), times) if times else content
    return measure_speed(bundle, entry, model, WAVE, threads=1, repetitions=repetitions)


@pytest.mark.parametrize("streaming", [False, True])
def test_much_more_work_is_slower(tmp_path: Path, streaming: bool) -> None:
    """Hundreds of times as much of it: on any machine, however busy."""
    if streaming:
        path = write_streaming_bundle(tmp_path / "b", Core("delay", chunk=640), stft=None)
    else:
        path = write_bundle(tmp_path / "b")
    speed = measured(open_bundle(path), times=500)
    assert 0 < speed.low <= speed.ratio <= speed.high < 1
    assert speed.float32_ms < speed.int8_ms
    assert (speed.seconds, speed.threads, speed.repetitions) == (1.0, 1, 3)


def test_both_are_timed_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that runs ever more slowly: of two that are alike neither wins."""
    from frcrn_export.calibration import speed as module

    clock = {"now": 0.0, "step": 1.0}

    def tick() -> float:
        clock["now"] += clock["step"]
        clock["step"] *= 1.01
        return clock["now"]

    monkeypatch.setattr(module, "perf_counter", tick)
    speed = measured(open_bundle(write_bundle(tmp_path / "b")), repetitions=20)
    assert speed.ratio == pytest.approx(1.0, abs=1e-3)
    assert speed.low == pytest.approx(1 / speed.high, rel=1e-6)
