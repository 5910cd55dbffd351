import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.exporters.float16.graph import exact_constants, float16_graph
from frcrn_export.exporters.float16.rounding import SWITCHES, in_float32, rounded, with_switches
from frcrn_export.exporters.layer_runs import session_call
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.reader import Bundle


def two_products(first: float, second: float) -> onnx.ModelProto:
    """x [1, 1, 4] times two numbers, in float16."""
    weights = [np.full((1, 1, 1), value, np.float16) for value in (first, second)]
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], "into", to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "w0"], ["large"], "first"),
        helper.make_node("Conv", ["large", "w1"], ["small"], "second"),
        helper.make_node("Cast", ["small"], ["y"], "out", to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4])],
        [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_what_a_processor_does_not_round_is_rounded() -> None:
    x = np.array([[[1.0, 10.0, 100.0, 1.2345678]]], np.float32)
    model = two_products(1000, 0.5)
    (output,) = session_call(rounded(float16_graph(model)))({"x": x}, ["y"]).values()
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16) * np.float16(1000) * np.float16(0.5)
    np.testing.assert_array_equal(output, expected.astype(np.float32))
    assert np.isinf(output[0, 0, 2])  # 100000 on the way


def test_each_layer_has_a_switch() -> None:
    x = np.array([[[1.0, 10.0, 100.0, 1.2345678]]], np.float32)
    call = session_call(with_switches(float16_graph(two_products(1000, 0.5)), {}))

    def run(*on: bool) -> np.ndarray:
        (output,) = call({"x": x, SWITCHES: np.array(on)}, ["y"]).values()
        return np.asarray(output)

    np.testing.assert_array_equal(run(False, False), x * 1000 * np.float32(0.5))
    assert np.isinf(run(True, False)[0, 0, 2])  # it stores 100000
    assert np.isinf(run(False, True)[0, 0, 2])  # it reads 100000
    assert run(True, False)[0, 0, 3] != run(False, True)[0, 0, 3]


@pytest.mark.parametrize("kind", ["core", "core.streaming"])
def test_all_off_is_float32_and_all_on_is_float16(small_wave_bundle: Bundle, kind: str) -> None:
    exact = onnx.load(small_wave_bundle.path / f"{kind}.onnx")
    half = onnx.load(small_wave_bundle.path / f"{kind}.fp16.onnx")
    graph = float16_graph(half)
    rng = np.random.default_rng(0)
    inputs = {
        value.name: rng.standard_normal(
            [d.dim_value or (1 if d.dim_param == "batch" else 640) for d in _dims(value)]
        ).astype(np.float32)
        for value in exact.graph.input
    }
    call = session_call(with_switches(graph, exact_constants(graph.constants, exact)))
    expected = session_call(exact)(inputs, ["enhanced"])["enhanced"]

    def snr(on: bool) -> float:
        switches = np.full(len(graph.layers), on)
        output = call({**inputs, SWITCHES: switches}, ["enhanced"])["enhanced"]
        return snr_db(expected, output)

    assert snr(False) > 90
    assert 50 < snr(True) < 80
    plain = session_call(rounded(graph))(inputs, ["enhanced"])["enhanced"]
    assert snr_db(expected, plain) == pytest.approx(snr(True), abs=0.01)


def test_nothing_in_float16_remains(small_wave_bundle: Bundle) -> None:
    model = in_float32(onnx.load(small_wave_bundle.path / "core.streaming.fp16.onnx"), {})
    onnx.checker.check_model(model, full_check=True)
    assert not any(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)
    casts = [a.i for n in model.graph.node for a in n.attribute if n.op_type == "Cast"]
    assert TensorProto.FLOAT16 not in casts


def _dims(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim)
