from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration import ranges
from frcrn_export.calibration.clips import ClipSet, choose_clips, read_clip
from frcrn_export.calibration.feeds import feeds
from frcrn_export.calibration.histogram import BINS, Histogram, histogram
from frcrn_export.calibration.ranges import Observer, observe, with_observers
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.cache import CACHE_VARIABLE
from frcrn_export.runtime.errors import AudioError, BackendError, CheckFailed
from tests.bundles import STFT, manifest, write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle

OBSERVED = ["x", "convolved", "fp16", "y"]


def network() -> onnx.ModelProto:
    """x [1, 1, N] -> Conv (6 channels) -> Relu -> as float16 -> Sum -> y [1, 1, N]."""
    weight = np.random.default_rng(1).standard_normal((6, 1, 3)).astype(np.float32)
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["x", "weight"], ["convolved"], pads=[1, 1]),
            node("Relu", ["convolved"], ["rectified"]),
            node("Cast", ["rectified"], ["fp16"], to=TensorProto.FLOAT16),
            node("Cast", ["fp16"], ["float"], to=TensorProto.FLOAT),
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
    for name, kind in (("convolved", TensorProto.FLOAT), ("fp16", TensorProto.FLOAT16)):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = ["y", "convolved", "fp16"]
    found = dict(zip(names, session.run(names, {"x": x}), strict=True))
    return {"x": x, **found}


def waves(count: int, samples: int) -> list[np.ndarray]:
    random = np.random.default_rng(2)
    return [random.standard_normal((1, 1, samples)).astype(np.float32) for _ in range(count)]


def test_extremes_are_exact_and_the_counts_an_even_sample() -> None:
    observer = Observer(network(), OBSERVED, 1000, threads=1)
    given = waves(3, 5_000)
    outputs = [observer.run({"x": x}) for x in given]
    found = observer.histograms()
    for x, output in zip(given, outputs, strict=True):
        assert set(output) == {"y"}
        np.testing.assert_array_equal(output["y"], plain(x)["y"])
    for name in OBSERVED:
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
    observed = with_observers(network(), OBSERVED)
    onnx.checker.check_model(observed)
    names = [output for node in observed.graph.node for output in node.output]
    for before, name in ((name, f".observed.{i}.low") for i, name in enumerate(OBSERVED)):
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


RATE = 16_000
TENSORS = ["inputs", "enhanced"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    folder = tmp_path_factory.mktemp("clips")
    for index in range(4):
        noise = np.random.default_rng(index).standard_normal((2 + index) * RATE // 2)
        soundfile.write(folder / f"{index}.wav", 0.1 * noise, RATE, subtype="FLOAT")
    return choose_clips([folder], RATE)


@pytest.fixture
def core(tmp_path: Path) -> tuple[Path, Manifest, FileEntry]:
    """A core that multiplies by -2."""
    path = write_bundle(tmp_path / "b", manifest(stft=STFT, level="active_rms"), gain=-2.0)
    described = open_bundle(path).manifest
    return path / "core.onnx", described, described.files[0]


def same(first: dict[str, Histogram], second: dict[str, Histogram]) -> bool:
    return first.keys() == second.keys() and all(
        (one.low, one.high, one.limit) == (second[name].low, second[name].high, second[name].limit)
        and np.array_equal(one.counts, second[name].counts)
        for name, one in first.items()
    )


def test_the_ranges_are_those_of_all_feeds(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet
) -> None:
    model, described, entry = core
    found = observe(model, TENSORS, described, entry, clips)
    fed = [
        feed["inputs"]
        for clip in clips.clips
        for feed in feeds(described, entry, read_clip(clip, RATE), None, ranges.OBSERVED_SECONDS)
    ]
    low, high = min(each.min() for each in fed), max(each.max() for each in fed)
    assert (found["inputs"].low, found["inputs"].high) == (low, high)
    assert (found["enhanced"].low, found["enhanced"].high) == (-2 * high, -2 * low)
    assert found["inputs"].counts.sum() == 4 << 15
    assert same(observe(onnx.load(model), TENSORS, described, entry, clips), found)


def stop_after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return progress


def test_what_was_interrupted_goes_on_where_it_was(
    core: tuple[Path, Manifest, FileEntry],
    clips: ClipSet,
    cache: Path,
) -> None:
    model, described, entry = core
    with pytest.raises(KeyboardInterrupt):
        observe(model, TENSORS, described, entry, clips, progress=stop_after(2))
    (kept,) = (cache / "calibration").iterdir()  # nothing half-written beside it
    told: list[tuple[int, int]] = []
    found = observe(
        model, TENSORS, described, entry, clips, progress=lambda *done: told.append(done)
    )
    assert told == [(2, 4), (3, 4), (4, 4)]
    kept.unlink()
    assert same(observe(model, TENSORS, described, entry, clips), found)


def test_what_is_in_the_cache_is_not_measured_again(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, described, entry = core
    found = observe(model, TENSORS, described, entry, clips)
    monkeypatch.setattr(ranges, "Observer", None)
    assert same(observe(model, TENSORS, described, entry, clips), found)


def test_another_model_or_data_or_tensors_are_measured_anew(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, cache: Path, tmp_path: Path
) -> None:
    model, described, entry = core
    observe(model, TENSORS, described, entry, clips)
    other = write_bundle(tmp_path / "other", manifest(stft=STFT, level="active_rms"), gain=3.0)
    again = observe(other / "core.onnx", TENSORS, described, entry, clips)
    assert again["enhanced"].low == pytest.approx(3 * again["inputs"].low)
    fewer = ClipSet(clips.clips[:1], RATE, 0)
    assert observe(model, TENSORS, described, entry, fewer)["inputs"].counts.sum() == 1 << 15
    assert list(observe(model, ["enhanced"], described, entry, clips)) == ["enhanced"]
    quiet = manifest(stft=STFT, level="none")
    assert observe(model, TENSORS, quiet, entry, clips)["inputs"].high > again["inputs"].high
    assert len(list((cache / "calibration").iterdir())) == 5


@pytest.mark.parametrize("keep", [0, 100, -20])
def test_a_damaged_cache_is_measured_anew(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, cache: Path, keep: int
) -> None:
    model, described, entry = core
    found = observe(model, TENSORS, described, entry, clips)
    (kept,) = (cache / "calibration").iterdir()
    kept.write_bytes(kept.read_bytes()[:keep])
    assert same(observe(model, TENSORS, described, entry, clips), found)


def test_the_states_of_a_stream_are_those_it_had(tmp_path: Path, clips: ClipSet) -> None:
    """One pole at 1/2: samples of a stream add up to more than the largest of them."""
    path = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=160), None)
    described = open_bundle(path).manifest
    (entry,) = described.files
    found = observe(path / entry.path, ["wave", "y", "enhanced"], described, entry, clips)
    states, largest = [], 0.0
    for clip in clips.clips:
        audio = read_clip(clip, RATE)
        largest = max(largest, float(np.abs(audio[: round(2.5 * RATE)]).max()))
        state, outputs = 0.0, []
        for sample in audio:
            state = float(sample) + state / 2
            outputs.append(state)
        states += [0.0, *outputs[159::160]]
    assert found["y"].high == pytest.approx(max(states), rel=1e-5)
    assert found["y"].low == pytest.approx(min(states), rel=1e-5)
    assert found["wave"].largest == pytest.approx(largest)
    assert found["enhanced"].counts.sum() == sum(
        256 * -(-round(clip.seconds * RATE) // 160) for clip in clips.clips
    )


def test_a_network_that_overflows_is_said_with_the_clip(tmp_path: Path, clips: ClipSet) -> None:
    path = write_bundle(tmp_path / "b", gain=float("inf"))
    described = open_bundle(path).manifest
    with pytest.raises(CheckFailed, match=r"\.wav: enhanced is not finite in core\.onnx; remove"):
        observe(path / "core.onnx", TENSORS, described, described.files[0], clips)


def test_a_clip_that_changed_stops_it_and_what_was_done_is_kept(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, cache: Path, tmp_path: Path
) -> None:
    model, described, entry = core
    for clip in clips.clips:
        (tmp_path / clip.path.name).write_bytes(clip.path.read_bytes())
    own = choose_clips([tmp_path], RATE)
    soundfile.write(own.clips[2].path, np.ones(RATE) / 2, RATE)
    with pytest.raises(AudioError, match="changed"):
        observe(model, TENSORS, described, entry, own)
    soundfile.write(own.clips[2].path, read_clip(clips.clips[2], RATE), RATE, subtype="FLOAT")
    told: list[int] = []
    observe(model, TENSORS, described, entry, own, progress=lambda done, _: told.append(done))
    assert told == [2, 3, 4]
