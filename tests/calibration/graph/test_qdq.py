"""Q/DQ pairs for TensorRT, and what they mean in ONNX Runtime."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from frcrn_export.calibration.graph.layers import int8_layers
from frcrn_export.calibration.graph.qdq import quantize, quantized_tensors
from frcrn_export.calibration.histogram import Histogram
from frcrn_export.runtime.audio.measures import snr_db
from tests.calibration.graphs import gemm_network, masking_network, ranges_of, run, wave

LAYERS = ["encoder", "grouped", "parallel", "mask"]


def quantized(model: onnx.ModelProto, layers: list[str] = LAYERS) -> onnx.ModelProto:
    ranges = ranges_of(model, quantized_tensors(model, layers), [wave(1), wave(2)])
    result = quantize(model, layers, ranges, "minmax")
    onnx.checker.check_model(result, full_check=True)
    return result


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def test_tensorrt_form_has_symmetric_int8_and_scales_in_fp16() -> None:
    model = quantized(masking_network(fp16=True))
    assert [opset.version for opset in model.opset_import] == [19]
    found = arrays(model)
    for name in ("shared", "depthwise.out", "residual"):
        assert found[f"{name}_zero_point"].dtype == np.int8
        assert not found[f"{name}_zero_point"].any()
        assert found[f"{name}_scale"].dtype == np.float16
    for layer in LAYERS:
        assert found[f"{layer}.weight_quantized"].dtype == np.int8
        assert found[f"{layer}.weight_scale"].shape == found[f"{layer}.weight_zero_point"].shape
        assert found[f"{layer}.weight_scale"].dtype == np.float16
        assert found[f"{layer}.weight_scale"].shape == ()
        assert node(model, layer).input[2] == f"{layer}.bias"
        assert node(model, layer).output[0] == f"{layer}.out"
        assert f"{layer}.weight" not in found
    assert TensorProto.UINT8 not in {t.data_type for t in model.graph.initializer}


def test_a_weight_of_very_different_channels_gets_a_scale_for_each() -> None:
    """One for all is faster in TensorRT-RTX, but would leave nothing of the small channels."""
    original = masking_network(fp16=True)
    weight = next(t for t in original.graph.initializer if t.name == "encoder.weight")
    wild = numpy_helper.to_array(weight).copy()
    wild[:2] *= 100
    wild[2:] *= 0.3
    weight.CopyFrom(numpy_helper.from_array(wild, weight.name))
    model = quantized(original)
    assert arrays(model)["encoder.weight_scale"].shape == (48,)
    (axis,) = node(model, "encoder.weight_dequantize").attribute
    assert (axis.name, axis.i) == ("axis", 0)
    assert arrays(model)["mask.weight_scale"].shape == ()


def test_a_tensor_that_several_layers_read_is_quantized_once() -> None:
    model = quantized(masking_network())
    assert [opset.version for opset in model.opset_import] == [18]
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (3, 3 + 4)
    assert node(model, "encoder").input[0] == "shared_dequantized"
    assert node(model, "parallel").input[0] == "shared_dequantized"
    assert "shared" in node(model, "node.residual").input  # no layer: reads what it read before


@pytest.mark.parametrize("fp16", [True, False])
@pytest.mark.parametrize(("batch", "samples"), [(1, 8), (3, 800)])
def test_sounds_nearly_the_same_at_any_size(fp16: bool, batch: int, samples: int) -> None:
    original = masking_network(fp16)
    feed = wave(3, batch, samples)
    assert snr_db(run(original, feed), run(quantized(original), feed)) > 30


def test_fp8_takes_the_place_of_int8() -> None:
    original = masking_network(fp16=True)
    ranges = ranges_of(original, quantized_tensors(original, LAYERS), [wave(1)])
    model = quantize(original, LAYERS, ranges, "minmax", "fp8")
    onnx.checker.check_model(model, full_check=True)
    types = {t.name: t.data_type for t in model.graph.initializer}
    for name in ("shared_zero_point", "mask.weight_quantized", "mask.weight_zero_point"):
        assert types[name] == TensorProto.FLOAT8E4M3FN
    assert TensorProto.INT8 not in types.values()
    assert 20 < snr_db(run(original, wave(1)), run(model, wave(1))) < 40


def test_a_wrong_range_is_heard() -> None:
    original = masking_network()
    tensors = quantized_tensors(original, LAYERS)
    ranges = ranges_of(original, tensors, [wave(1)])
    narrow = {
        name: Histogram(h.low / 20, h.high / 20, h.limit / 20, h.counts)
        for name, h in ranges.items()
    }
    broken = quantize(original, LAYERS, narrow, "minmax")
    assert snr_db(run(original, wave(3)), run(broken, wave(3))) < 20


def test_no_layer_changes_nothing_and_the_result_is_reproducible() -> None:
    original = masking_network(fp16=True)
    assert quantize(original, [], {}, "minmax") == original
    first, second = (quantized(original) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


def test_all_layers_that_can() -> None:
    original = masking_network()
    model = quantized(original, [layer.name for layer in int8_layers(original, "tensorrt")])
    assert snr_db(run(original, wave(3)), run(model, wave(3))) > 20


def test_a_matrix_is_quantized_by_its_outputs_whichever_axis_they_are() -> None:
    original = gemm_network()
    for name, axis in (("one", 1), ("two", 0)):
        weight = next(t for t in original.graph.initializer if t.name == name)
        loud = numpy_helper.to_array(weight).copy()
        np.moveaxis(loud, axis, 0)[:4] *= 1000  # one scale would leave nothing of the others
        weight.CopyFrom(numpy_helper.from_array(loud, name))
    layers = ["first", "second"]
    ranges = ranges_of(original, quantized_tensors(original, layers), [wave(1, 100, 32)])
    model = quantize(original, layers, ranges, "minmax")
    onnx.checker.check_model(model, full_check=True)
    found = arrays(model)
    assert (found["one_scale"].shape, found["two_scale"].shape) == ((64,), (48,))
    assert [node(model, f"{name}_dequantize").attribute[0].i for name in ("one", "two")] == [1, 0]
    assert snr_db(run(original, wave(3, 100, 32)), run(model, wave(3, 100, 32))) > 20


def test_what_is_no_layer() -> None:
    model = masking_network()
    with pytest.raises(ValueError, match="'nowhere' is no Conv, MatMul or Gemm"):
        quantize(model, ["nowhere"], {}, "minmax")
    with pytest.raises(ValueError, match="'synthesis' is no Conv, MatMul or Gemm"):
        quantized_tensors(model, ["synthesis"])
    with pytest.raises(KeyError, match="shared"):
        quantize(model, ["encoder"], {}, "minmax")
