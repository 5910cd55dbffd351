import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration.histogram import BINS, histogram
from frcrn_export.calibration.ranges import Observer, with_observers
from frcrn_export.runtime.errors import BackendError, CheckFailed

TENSORS = ["x", "convolved", "half", "y"]


def network() -> onnx.ModelProto:
    """x [1, 1, N] -> Conv (6 channels) -> Relu -> as float16 -> Sum -> y [1, 1, N]."""
    weight = np.random.default_rng(1).standard_normal((6, 1, 3)).astype(np.float32)
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["x", "weight"], ["convolved"], pads=[1, 1]),
            node("Relu", ["convolved"], ["rectified"]),
            node("Cast", ["rectified"], ["half"], to=TensorProto.FLOAT16),
            node("Cast", ["half"], ["float"], to=TensorProto.FLOAT),
            node("ReduceSum", ["float", "axis"], ["y"], keepdims=1),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "N"])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def plain(x: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors as they are."""
    model = network()
    for name, kind in (("convolved", TensorProto.FLOAT), ("half", TensorProto.FLOAT16)):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = ["y", "convolved", "half"]
    found = dict(zip(names, session.run(names, {"x": x}), strict=True))
    return {"x": x, **found}


def waves(count: int, samples: int) -> list[np.ndarray]:
    random = np.random.default_rng(2)
    return [random.standard_normal((1, 1, samples)).astype(np.float32) for _ in range(count)]


def test_extremes_are_exact_and_the_counts_an_even_sample() -> None:
    observer = Observer(network(), TENSORS, 1000, threads=1)
    given = waves(3, 5_000)
    outputs = [observer.run({"x": x}) for x in given]
    found = observer.histograms()
    for x, output in zip(given, outputs, strict=True):
        assert set(output) == {"y"}
        np.testing.assert_array_equal(output["y"], plain(x)["y"])
    for name in TENSORS:
        values = np.concatenate([plain(x)[name].ravel() for x in given]).astype(np.float32)
        assert (found[name].low, found[name].high) == (values.min(), values.max())
        assert found[name].counts.sum() == 3_000
        whole = histogram(values)
        assert found[name].limit == whole.limit
        differences = np.abs(
            np.cumsum(found[name].counts) / 3_000 - np.cumsum(whole.counts) / values.size
        )
        assert differences.max() < 0.04  # of two distribution functions


def test_every_value_of_a_small_tensor_is_counted_equally() -> None:
    observer = Observer(network(), ["x"], 500, threads=1)
    x = np.arange(1.0, 101.0, dtype=np.float32).reshape(1, 1, 100)
    observer.run({"x": x})
    counts = observer.histograms()["x"].counts
    assert counts[BINS:][counts[BINS:] > 0].tolist() == [5] * 100


def test_the_seed_decides_what_is_counted() -> None:
    observer = Observer(network(), ["y"], 100, threads=1)
    (x,) = waves(1, 5_000)
    found = []
    for seed in (1, 1, 2):
        observer.begin(seed)
        observer.run({"x": x})
        found.append(observer.histograms()["y"].counts)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_tensor_is_measured_right_after_it_is_computed() -> None:
    observed = with_observers(network(), TENSORS)
    onnx.checker.check_model(observed)
    names = [output for node in observed.graph.node for output in node.output]
    for before, name in ((name, f".observed.{i}.low") for i, name in enumerate(TENSORS)):
        if before != "x":
            behind = names[names.index(before) + 1 : names.index(name)]
            assert all(each.startswith(".observed.") for each in behind)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_named(bad: float) -> None:
    observer = Observer(network(), ["convolved"], 1 << 16, threads=1)
    (x,) = waves(1, 100)
    x[0, 0, 50] = bad
    observer.run({"x": x})
    with pytest.raises(CheckFailed, match="convolved is not finite"):
        observer.histograms()


def test_what_cannot_be_observed() -> None:
    with pytest.raises(ValueError, match="does not compute weight"):
        Observer(network(), ["weight"], 10, threads=1)
    broken = network()
    broken.graph.node[0].op_type = "Nothing"
    with pytest.raises(BackendError, match="cannot load"):
        Observer(broken, ["x"], 10, threads=1)
