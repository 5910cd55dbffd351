import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from frcrn_export.exporters.inline_graph import inline_model
from frcrn_export.exporters.reference import level_gain, padding_samples
from frcrn_export.runtime.bundle.manifest import Level, Padding

RULES = [
    Padding(rule="multiple", size=128),
    Padding(rule="hops", size=1_600, stride=300),
    Padding(rule="windows", size=1_600, stride=1_200),
    Padding(rule="hops", size=1_600, stride=160),
]


def gain_network(dropped: int = 0) -> onnx.ModelProto:
    """wave -> wave / 2, without its last `dropped` samples."""
    nodes = [
        helper.make_node("Mul", ["wave", "half"], ["scaled"]),
        helper.make_node("Slice", ["scaled", "start", "end", "axis"], ["enhanced"]),
    ]
    end = -dropped if dropped else np.iinfo(np.int64).max
    constants = [
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("start", TensorProto.INT64, [1], [0]),
        helper.make_tensor("end", TensorProto.INT64, [1], [end]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("wave", "samples"), ("enhanced", "given"))
    ]
    graph = helper.make_graph(nodes, "gain", tensors[:1], tensors[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(
    model: onnx.ModelProto, wave: np.ndarray, outputs: list[str] | None = None
) -> list[np.ndarray]:
    for name in outputs or []:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    results: list[np.ndarray] = session.run(outputs, {"wave": wave})
    return results


def noise(batch: int, samples: int) -> np.ndarray:
    wave = np.random.default_rng(samples).standard_normal((batch, samples)) * 0.1
    wave[:, samples // 2 :] *= 0.1
    return wave.astype(np.float32)


@pytest.mark.parametrize("level", ["none", "peak", "active_rms"])
@pytest.mark.parametrize("padding", RULES, ids=lambda padding: padding.rule)
def test_rules_are_the_published_ones(level: Level, padding: Padding) -> None:
    model = inline_model(gain_network(), level, padding)
    onnx.checker.check_model(model, full_check=True)
    for samples in (100, 1_600, 2_799, 2_800, 3_000, 4_000, 4_001):
        wave = noise(1, samples)
        prepared, gain, enhanced = run(
            onnx.ModelProto.FromString(model.SerializeToString()),
            wave,
            ["prepared", "gains", "enhanced"],
        )
        assert prepared.shape[1] == samples + padding_samples(samples, padding)
        assert gain.shape == wave.shape
        assert gain[0, -1] == pytest.approx(
            level_gain(torch.from_numpy(wave[0]), level, 1e-6), rel=1e-3
        )
        np.testing.assert_allclose(enhanced, wave / 2, atol=1e-7)


@pytest.mark.parametrize("level", ["none", "peak", "active_rms"])
def test_each_of_a_batch_has_its_own_level_and_silence_stays_silent(level: Level) -> None:
    model = inline_model(gain_network(), level, RULES[0])
    wave = noise(3, 500) * np.float32([[1.0], [0.001], [0.0]])
    np.testing.assert_allclose(run(model, wave)[0], wave / 2, atol=1e-8, rtol=1e-5)


def test_what_the_network_does_not_give_is_silence() -> None:
    model = inline_model(gain_network(dropped=40), "none", Padding(rule="multiple", size=1))
    wave = noise(1, 500)
    (enhanced,) = run(model, wave)
    assert enhanced.shape == wave.shape
    np.testing.assert_array_equal(enhanced[:, 460:], 0)
    np.testing.assert_allclose(enhanced[:, :460], wave[:, :460] / 2)
