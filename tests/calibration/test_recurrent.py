"""INT8 around GRUs and LSTMs, which stay in float, as do their states in streams."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from frcrn_export.calibration import calibrate as module
from frcrn_export.calibration.calibrate import calibrate_with
from frcrn_export.calibration.graph.layers import int8_layers, multiplications, quantizable
from frcrn_export.calibration.graph.qdq import quantize, quantized_tensors
from frcrn_export.calibration.graph.signals import find_signals
from frcrn_export.calibration.graph.transposed import lower_transposed
from frcrn_export.calibration.graph.uint8 import quantize_signals
from frcrn_export.calibration.plan import Settings
from frcrn_export.calibration.switches import SWITCHES, with_switches
from frcrn_export.engines.build import build_plan
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.layer_report import quantized_nodes
from frcrn_export.runtime.bundle.manifest import Profile, Target
from frcrn_export.runtime.bundle.reader import open_bundle
from tests.calibration.bundles import contents, speed, write_recurrent_bundle
from tests.calibration.graphs import (
    RECURRENT_HIDDEN,
    ranges_of,
    recurrent_network,
    run,
    signal_ranges,
    wave,
)
from tests.engines.tiny import options

KINDS = ["GRU", "LSTM"]
BOTH = pytest.mark.parametrize("kind", KINDS)
SIGNALS = ["analysis.out", "before.out", "outputs", "behind.out", "parallel.out", "sum"]
LAYERS = ["before", "behind", "parallel"]


def feed(streaming: bool, kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    given = wave(seed, samples=800)
    if streaming:
        for index in range(1 if kind == "GRU" else 2):
            given[f"state{index}"] = np.zeros((1, 1, RECURRENT_HIDDEN), np.float32)
    return given


@BOTH
def test_they_count_and_are_layers_between_others(kind: str) -> None:
    model = recurrent_network(kind)
    gates = 3 if kind == "GRU" else 4
    counts = multiplications(model, {"batch": 2, "samples": 80})
    assert counts["recurrent"] == 2 * 10 * gates * RECURRENT_HIDDEN * (48 + RECURRENT_HIDDEN)
    found = {layer.name: layer.kept for layer in int8_layers(model, "tensorrt")}
    assert found == {
        "analysis": "first",
        "before": None,
        "behind": None,
        "parallel": None,
        "mask": "mask",
    }


@pytest.mark.parametrize("streaming", [False, True])
@BOTH
def test_in_uint8_around_them_they_compute_in_float(
    kind: str, streaming: bool, tmp_path: Path
) -> None:
    model = recurrent_network(kind, streaming)
    signals = find_signals(model)
    names = [signal.name for signal in signals]
    assert [layer for signal in signals for layer in signal.layers] == LAYERS
    assert not {t for s in signals for t in s.tensors if t.startswith("state")}
    ranges = signal_ranges(model, [feed(streaming, kind, seed) for seed in range(3)])
    quantized = quantize_signals(model, names, ranges, "minmax", signals)
    onnx.checker.check_model(quantized, full_check=True)
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*quantized.graph.input, *quantized.graph.output)
    }
    assert set(types.values()) == {TensorProto.FLOAT}
    given = feed(streaming, kind, 9)
    file = tmp_path / "optimized.onnx"
    output = run(quantized, given, str(file))
    assert 25 < snr_db(run(model, given), output) < 80
    operators = [node.op_type for node in onnx.load(file).graph.node]
    assert operators.count(kind) == 1
    assert operators.count("QLinearConv") == len(LAYERS)


def test_a_layer_that_reads_the_last_state_leaves_it_unrounded() -> None:
    """A core of one frame a call may go on from the state; what is kept of it is exact."""
    model = recurrent_network("GRU", streaming=True)
    squeeze = next(node for node in model.graph.node if node.op_type == "Squeeze")
    perm = next(node for node in model.graph.node if node.output[0] == "heard").attribute[0]
    squeeze.op_type, squeeze.input[:] = "Transpose", ["state0.after"]
    squeeze.attribute.add(name="perm", type=onnx.AttributeProto.INTS, ints=[1, 2, 0])
    perm.ints[:] = [0, 1, 2]  # [batch, hidden, 1 frame]
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 8
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8
    onnx.checker.check_model(model, full_check=True)
    signals = find_signals(model)
    assert not {t for s in signals for t in s.tensors if t.startswith(("state", "y", "heard"))}
    given = feed(True, "GRU") | {"wave": wave(samples=8)["wave"]}
    ranges = signal_ranges(model, [given])
    quantized = quantize_signals(model, [s.name for s in signals], ranges, "minmax", signals)
    maker = {name: node for node in quantized.graph.node for name in node.output}
    assert maker["state0.next"].input[0] == "state0.after"
    assert maker["state0.after"].op_type == "GRU"
    assert snr_db(run(model, given), run(quantized, given)) > 20


@BOTH
def test_signals_can_be_rounded_from_call_to_call(kind: str) -> None:
    model = recurrent_network(kind, streaming=True)
    signals = find_signals(model)
    given = feed(True, kind)
    ranges = signal_ranges(model, [given])
    switched = with_switches(model, signals, ranges, "minmax")
    exact = run(model, given)
    for on in (False, True):
        output = run(switched, {**given, SWITCHES: np.full(len(signals), on)})
        assert np.array_equal(output, exact) is not on
        assert snr_db(exact, output) > 25


@BOTH
def test_for_tensorrt_an_engine_has_the_convolutions_in_int8(kind: str, tmp_path: Path) -> None:
    model = lower_transposed(recurrent_network(kind, fp16=True))
    names = [layer.name for layer in quantizable(model, "tensorrt")]
    assert names == LAYERS
    given = feed(False, kind)
    ranges = ranges_of(model, quantized_tensors(model, names), [given])
    quantized = quantize(model, names, ranges, "minmax")
    onnx.checker.check_model(quantized, full_check=True)
    assert 25 < snr_db(run(model, given), run(quantized, given)) < 80
    onnx.save(quantized, tmp_path / "core.int8.onnx")
    profile = Profile(min=(1, 1, 80), opt=(1, 1, 800), max=(2, 1, 1600))
    built = build_plan(tmp_path / "core.int8.onnx", options(profile=profile))
    assert quantized_nodes(built.layers) == dict.fromkeys(LAYERS, "Int8")


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@BOTH
def test_from_a_bundle_to_an_int8_file(
    kind: str,
    target: Target,
    streaming: bool,
    tmp_path: Path,
    clips_folder: Path,
    held_out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "measure_speed", lambda *args, **options: speed(0.5))
    path = write_recurrent_bundle(tmp_path / "bundles" / "recurrent", kind)
    settings = Settings(
        target, (clips_folder,), streaming, pairs=held_out, threads=1, allow_slower=True
    )
    report = calibrate_with(path, settings)
    counts = multiplications(recurrent_network(kind))
    share = sum(counts[name] for name in LAYERS) / sum(counts.values())
    assert report.quantization.share == pytest.approx(share)
    assert share < 0.25
    assert {row.name for row in report.layers if row.int8} == set(LAYERS)
    bundle = open_bundle(path)
    entry = next(e for e in bundle.manifest.files if e.path == report.file)
    if streaming:
        float32 = bundle.manifest.file("core_streaming", "onnx")
        assert float32 is not None
        assert entry.streaming == float32.streaming  # states in float32
    page = json.loads(contents(path)[report.quantization.report])
    assert page
