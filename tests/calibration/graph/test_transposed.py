"""Transposed convolutions as ordinary ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration.graph.layers import int8_layers, quantizable
from frcrn_export.calibration.graph.transposed import lower_transposed
from frcrn_export.runtime.audio.measures import snr_db
from tests.calibration.graphs import masking_network, run

CHANNELS = 16


def network(
    kernel: int,
    stride: int,
    *,
    pads: tuple[int, int] = (0, 0),
    output_padding: int = 0,
    cut: tuple[int, int] = (0, 0),
    relu: bool = False,
    bias: bool = True,
    fp16: bool = False,
) -> onnx.ModelProto:
    """wave [batch, 16, samples] through one transposed convolution, Slices and a ReLU."""
    random = np.random.default_rng(kernel * stride)
    dtype = np.float16 if fp16 else np.float32
    arrays = {
        "weight": random.standard_normal((CHANNELS, 20, kernel)).astype(dtype),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "most": np.array([np.iinfo(np.int64).max]),
        "start": np.array([cut[0]]),
        "end": np.array([-cut[1] or np.iinfo(np.int64).max]),
    } | ({"bias": random.standard_normal(20).astype(dtype)} if bias else {})
    attributes = {"strides": [stride], "pads": pads, "output_padding": [output_padding]}
    nodes = [
        helper.make_node("Cast", ["wave"], ["x"], "cast", to=10 if fp16 else 1),
        helper.make_node(
            "ConvTranspose", ["x", "weight", *(["bias"] if bias else [])], ["y"], "up", **attributes
        ),
        helper.make_node("Slice", ["y", "zero", "most", "zero", "one"], ["all"], "slice.1"),
        helper.make_node("Slice", ["all", "start", "end", "two", "one"], ["some"], "slice.2"),
        helper.make_node("Relu" if relu else "Neg", ["some"], ["z"], "behind"),
        helper.make_node("Cast", ["z"], ["enhanced"], "up_1", to=1),
    ]
    shape = ["batch", CHANNELS, "samples"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("wave", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("enhanced", TensorProto.FLOAT, ["batch", 20, None])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("kernel", "stride", "changes"),
    [
        (3, 2, {"cut": (0, 1), "relu": True}),  # the decoder of wave-unet-16k
        (3, 1, {"cut": (0, 2)}),  # its last layer
        (15, 4, {"pads": (7, 7), "output_padding": 3}),
        (15, 4, {"cut": (0, 11), "relu": True}),
        (5, 2, {"pads": (1, 2), "relu": True}),
        (2, 2, {}),
        (7, 3, {"pads": (3, 0), "cut": (1, 0)}),
        (2, 5, {"bias": False}),  # with gaps where nothing but a bias arrives
        (4, 2, {"fp16": True, "pads": (1, 1)}),
    ],
)
def test_equal_but_for_rounding(kernel: int, stride: int, changes: dict[str, object]) -> None:
    original = network(kernel, stride, **changes)  # type: ignore[arg-type]
    lowered = lower_transposed(original)
    onnx.checker.check_model(lowered, full_check=True)
    kinds = [node.op_type for node in lowered.graph.node]
    assert "ConvTranspose" not in kinds
    assert [node.name for node in lowered.graph.node if node.op_type == "Conv"] == ["up"]
    for batch, samples in ((1, 9), (3, 40)):
        random = np.random.default_rng(0)
        feed = {"wave": random.standard_normal((batch, CHANNELS, samples)).astype(np.float32)}
        before, after = run(original, feed), run(lowered, feed)
        assert before.shape == after.shape
        assert snr_db(before, after) > (55 if changes.get("fp16") else 120)


def test_nothing_is_computed_to_be_cut_off() -> None:
    """What the causal networks cut off is left out of the padding; no Slice stays."""
    kinds = [
        node.op_type for node in lower_transposed(network(3, 2, cut=(0, 1), relu=True)).graph.node
    ]
    assert kinds == ["Cast", "Conv", "Relu", "Reshape", "Transpose", "Reshape", "Cast"]
    kinds = [node.op_type for node in lower_transposed(network(3, 1, cut=(0, 2))).graph.node]
    assert kinds == ["Cast", "Conv", "Neg", "Cast"]


def test_what_comes_of_it_can_be_quantized() -> None:
    original = network(15, 4, pads=(7, 7), output_padding=3)
    assert quantizable(original, "tensorrt") == []
    # The only layer reads the input itself, so that it is kept for that reason and no other.
    (layer,) = int8_layers(lower_transposed(original), "tensorrt")
    assert (layer.name, layer.op_type, layer.kept) == ("up", "Conv", "first")


def test_the_synthesis_of_a_waveform_stays() -> None:
    original = masking_network()
    assert lower_transposed(original) == original


def test_others_may_read_what_comes_out() -> None:
    """A reader beside the Slice sees all of the output, so that nothing is absorbed."""
    model = network(4, 2, cut=(1, 1))
    model.graph.node.append(helper.make_node("Identity", ["y"], ["whole"], "reader"))
    model.graph.output.append(
        helper.make_tensor_value_info("whole", TensorProto.FLOAT, ["batch", 20, None])
    )
    lowered = lower_transposed(model)
    feed = {"wave": np.ones((1, CHANNELS, 5), np.float32)}
    np.testing.assert_allclose(run(model, feed), run(lowered, feed), atol=1e-5)
    assert [node.op_type for node in lowered.graph.node].count("Slice") == 2
