"""Signals in uint8: what is in the file, what ONNX Runtime makes of it, and how near it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration.graph.signals import find_signals
from frcrn_export.calibration.graph.uint8 import int8_layers_of, quantize_signals
from frcrn_export.calibration.histogram import Histogram
from frcrn_export.runtime.audio.measures import snr_db
from tests.calibration.graphs import (
    Arrays,
    gemm_network,
    masking_network,
    matrix_network,
    run,
    signal_ranges,
    streaming_network,
    summing_network,
    wave,
)

SUMMING, MASKING = summing_network(), masking_network()
MATRIX, GEMM = matrix_network(), gemm_network()

# Without VNNI a processor adds products in pairs, which saturate at 16 bits: 25.7 dB instead of 33.
_LEAST_DB = 24


def names(model: onnx.ModelProto) -> list[str]:
    return [signal.name for signal in find_signals(model)]


def in_uint8(
    model: onnx.ModelProto, chosen: Collection[str], ranges: Mapping[str, Histogram]
) -> onnx.ModelProto:
    return quantize_signals(model, chosen, ranges, "minmax", find_signals(model))


def quantized(model: onnx.ModelProto, chosen: Collection[str] | None = None) -> onnx.ModelProto:
    feeds = [wave(1, 100, 32)] if model in (MATRIX, GEMM) else [wave(1), wave(2)]
    chosen = names(model) if chosen is None else chosen
    result = in_uint8(model, chosen, signal_ranges(model, feeds))
    onnx.checker.check_model(result, full_check=True)
    return result


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def fused(model: onnx.ModelProto, path: Path, feed: Arrays) -> Counter[str]:
    """The operators that are left when ONNX Runtime has done what it does to a graph."""
    run(model, feed, str(path))
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_all_between_layers_is_computed_on_bytes(tmp_path: Path) -> None:
    kinds = fused(quantized(SUMMING), tmp_path / "o.onnx", wave())
    assert kinds["QLinearConv"] == 4  # widen, one, two, forth
    assert kinds["QLinearAdd"] == 4  # both, less (of a negative scale), more, all
    assert kinds["QLinearLeakyRelu"] == kinds["QLinearMul"] == 1
    assert (kinds["Add"], kinds["Sub"], kinds["LeakyRelu"]) == (0, 0, 0)
    # In: the signal for `widen`, and the mask. Out: what `back` reads in float32.
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (2, 1)


def test_a_rectifier_is_where_uint8_begins(tmp_path: Path) -> None:
    model = quantized(MASKING)
    found = arrays(model)
    assert found["encoded_zero_point"] == 0
    made = {name for node in model.graph.node for name in node.output}
    assert "encoder.out_quantized" not in made
    kinds = fused(model, tmp_path / "o.onnx", wave())
    assert kinds["QLinearConv"] == 4
    assert (kinds["Relu"], kinds["FusedConv"]) == (0, 3)  # the analysis and two for the gains


def test_biases_weights_and_scales() -> None:
    found = arrays(quantized(MASKING))
    for layer in ("encoder", "depthwise", "grouped", "parallel"):
        bias = found[f"{layer}_bias_quantized"]
        assert bias.dtype == np.int32
        assert found[f"{layer}_weight_quantized"].dtype == np.int8
        assert found[f"{layer}_weight_scale"].shape == bias.shape
        exact = arrays(MASKING)[f"{layer}.bias"]
        np.testing.assert_allclose(bias * found[f"{layer}_bias_scale"], exact, atol=1e-4)
        assert f"{layer}.weight" not in found
    for name in ("shared", "excited", "depthwise.out"):
        assert found[f"{name}_zero_point"].dtype == np.uint8


def test_matrix_products(tmp_path: Path) -> None:
    model = quantized(MATRIX)
    kinds = fused(model, tmp_path / "o.onnx", wave(0, 4, 32))
    assert kinds["QLinearMatMul"] == 1
    feed = wave(0, 4, 32)
    assert snr_db(run(MATRIX, feed), run(model, feed)) > 30


def test_products_with_a_bias(tmp_path: Path) -> None:
    """Rows are reordered as bytes, and a Gemm whose input stays float reads two bytes of it."""
    feed = wave(0, 4, 32)
    kinds = fused(quantized(GEMM), tmp_path / "o.onnx", feed)
    assert (kinds["QGemm"], kinds["Gemm"]) == (1, 2)  # the first and the last are float32
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (1, 1)
    alone = quantized(GEMM, ["z"])
    found = arrays(alone)
    assert found["second_weight_quantized"].shape == (48, 128)
    assert found["second_bias_quantized"].dtype == np.int32
    assert fused(alone, tmp_path / "o.onnx", feed)["QGemm"] == 1
    assert snr_db(run(GEMM, feed), run(alone, feed)) > 30


@pytest.mark.parametrize("model", [SUMMING, MASKING], ids=["summing", "masking"])
@pytest.mark.parametrize(("batch", "samples"), [(1, 8), (3, 800)])
def test_sounds_nearly_the_same_at_any_size(
    model: onnx.ModelProto, batch: int, samples: int
) -> None:
    feed = wave(3, batch, samples)
    assert snr_db(run(model, feed), run(quantized(model), feed)) > 25


@pytest.mark.parametrize(
    "model", [SUMMING, MASKING, MATRIX, GEMM], ids=["sums", "masks", "matrix", "gemm"]
)
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_choice_of_signals_runs_and_is_near(
    model: onnx.ModelProto, data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.sampled_from(names(model))))
    feed = wave(3, 2, 32) if model in (MATRIX, GEMM) else wave(3)
    assert snr_db(run(model, feed), run(quantized(model, chosen), feed)) > 25


def test_what_stays_float_is_read_in_two_bytes() -> None:
    """Nearly exact, where one byte would make most of the noise."""
    signals = names(SUMMING)
    feed = wave(3)
    exact = run(SUMMING, feed)
    without = [name for name in signals if name != "all"]
    model = quantized(SUMMING, without)
    assert any(node.output[0] == "all_two_bytes" for node in model.graph.node)
    weight = arrays(model)["forth_weight_quantized"]
    assert weight.shape == (64, 128, 1)
    assert np.abs(weight[:, 64:]).max() <= 127 // 8 + 1
    alone = quantized(SUMMING, ["forth.out"])  # `forth` is the only layer in INT8
    both = quantized(SUMMING, ["forth.out", "all"])
    assert snr_db(exact, run(alone, feed)) > snr_db(exact, run(both, feed))
    assert "all_two_bytes" not in {n.output[0] for n in quantized(SUMMING).graph.node}


def test_a_depthwise_layer_reads_a_float_signal_in_one_byte() -> None:
    model = quantized(MASKING, ["depthwise.out"])
    depthwise = next(node for node in model.graph.node if node.name == "depthwise")
    assert depthwise.input[0] == "excited_dequantized"
    assert arrays(model)["depthwise_weight_quantized"].shape == (48, 1, 3)


def test_states_of_a_stream(tmp_path: Path) -> None:
    """In uint8 at the graph's edge too, of the same scale as what they are joined with inside."""
    model = streaming_network()
    (joined,) = (s for s in find_signals(model) if "state" in s.tensors)
    assert joined.tensors == ("state", "before.out", "joined", "state.next")
    assert joined.observed == ("state", "before.out")
    state = np.random.default_rng(5).standard_normal((1, 32, 2)).astype(np.float32)
    feed = {**wave(4), "state": state}
    result = in_uint8(model, names(model), signal_ranges(model, [feed]))
    onnx.checker.check_model(result, full_check=True)
    steps = [arrays(result)[f"state_{part}"] for part in ("scale", "zero_point")]
    in_bytes = np.round(state / steps[0] + steps[1]).clip(0, 255).astype(np.uint8)
    bytes_feed = {**feed, "state": in_bytes}
    kinds = fused(result, tmp_path / "o.onnx", bytes_feed)
    assert (kinds["QLinearConv"], kinds["Conv"] + kinds["FusedConv"]) == (2, 2)
    assert kinds["QLinearConcat"] + kinds["Concat"] == 1
    assert kinds["QuantizeLinear"] == kinds["DequantizeLinear"] == 1  # not of states
    assert snr_db(run(model, feed), run(result, bytes_feed)) > _LEAST_DB
    # A state that comes back is what it was.
    session = onnxruntime.InferenceSession(
        result.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    once = session.run(["state.next"], bytes_feed)[0]
    again = session.run(["state.next"], {"wave": feed["wave"][..., :1], "state": once})[0]
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(again[..., 0], once[..., 1])


def test_a_state_that_is_read_where_it_was_made() -> None:
    """As what the layers behind it read, not only by the next call."""
    model = streaming_network()
    behind = next(i for i, each in enumerate(model.graph.node) if each.name == "behind")
    again = helper.make_node("Concat", ["state.next", "before.out"], ["again"], "again", axis=2)
    model.graph.node[behind].input[0] = "again"
    model.graph.node.insert(behind, again)
    feed = {**wave(4), "state": np.zeros((1, 32, 2), np.float32)}
    result = in_uint8(model, names(model), signal_ranges(model, [feed]))
    onnx.checker.check_model(result, full_check=True)
    zero = arrays(result)["state_zero_point"]
    assert result.graph.output[1].type.tensor_type.elem_type == TensorProto.UINT8
    in_bytes = run(result, {**feed, "state": np.full((1, 32, 2), zero, np.uint8)})
    assert snr_db(run(model, feed), in_bytes) > _LEAST_DB


def test_a_state_that_stays_float() -> None:
    """Where its signal does, and where it comes back as another signal."""
    model = streaming_network()
    feed = {**wave(4), "state": np.ones((1, 32, 2), np.float32)}
    ranges = signal_ranges(model, [feed])
    for signals in (["first.out"], names(model)):
        if "state" in signals:
            model.graph.output[1].name = "first.out"  # as if that were the next state
        result = in_uint8(model, signals, ranges)
        assert {t.type.tensor_type.elem_type for t in result.graph.input} == {TensorProto.FLOAT}
        assert {t.type.tensor_type.elem_type for t in result.graph.output} == {TensorProto.FLOAT}
        onnx.checker.check_model(result, full_check=True)


def test_which_layers_compute_in_int8() -> None:
    signals = find_signals(SUMMING)

    assert int8_layers_of(signals, names(SUMMING)) == {"widen", "one", "two", "forth"}
    assert int8_layers_of(signals, ["wide", "all"]) == {"widen"}
    assert int8_layers_of(signals, []) == set()


def test_a_wrong_range_is_heard() -> None:
    narrow = {
        name: Histogram(h.low / 20, h.high / 20, h.limit / 20, h.counts)
        for name, h in signal_ranges(MASKING, [wave(1)]).items()
    }
    broken = in_uint8(MASKING, names(MASKING), narrow)
    assert snr_db(run(MASKING, wave(3)), run(broken, wave(3))) < 20


def test_no_signal_changes_nothing_and_the_result_is_reproducible() -> None:
    for model in (SUMMING, MASKING):
        assert in_uint8(model, [], {}) == model
        first, second = (quantized(model) for _ in range(2))
        assert first.SerializeToString() == second.SerializeToString()


def test_what_is_no_signal() -> None:
    with pytest.raises(ValueError, match="'nowhere' is no signal"):
        in_uint8(MASKING, ["nowhere"], {})
    shared = {"shared": signal_ranges(MASKING, [wave(1)])["shared"]}
    with pytest.raises(KeyError, match="encoded"):
        in_uint8(MASKING, ["analysis.out", "encoder.out"], shared)
