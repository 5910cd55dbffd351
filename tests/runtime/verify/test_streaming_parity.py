from pathlib import Path

import msgspec
import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.verify.parity import check_bundle, open_artifacts
from frcrn_export.runtime.verify.streaming_parity import open_streamed
from tests.bundles import STFT, parity_entry, write_bundle
from tests.checked_streams import write_checked_bundle
from tests.int8_standins import add_int8, scaled
from tests.streaming_bundles import Core, write_streaming_bundle


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("lookahead", [0, 2, 5])
def test_whole_streams_come_out_aligned_and_begin_anew(
    chunk: int, lookahead: int, tmp_path: Path
) -> None:
    write_streaming_bundle(tmp_path / "b", Core("delay", chunk, lookahead))
    (core,) = open_streamed(open_bundle(tmp_path / "b"))
    for batch, frames in ((1, 1), (3, 7), (1, 6)):
        given = noise(batch, 2, STFT.bins, frames)
        np.testing.assert_array_equal(core(given), given)


@pytest.mark.parametrize("frames", [3, 4, 5])
def test_the_core_is_told_where_the_stream_ends(frames: int, tmp_path: Path) -> None:
    write_streaming_bundle(tmp_path / "b", Core("halved_end", chunk=2, lookahead=3))
    (core,) = open_streamed(open_bundle(tmp_path / "b"))
    given = noise(2, 2, STFT.bins, frames)
    expected = given.copy()
    expected[..., -2:] /= 2
    np.testing.assert_array_equal(core(given), expected)


def test_only_streaming_cores_and_by_what_runs_them(tmp_path: Path) -> None:
    write_bundle(tmp_path / "plain")
    assert list(open_streamed(open_bundle(tmp_path / "plain"))) == []
    write_streaming_bundle(tmp_path / "b", Core())
    bundle = open_bundle(tmp_path / "b")
    assert list(open_streamed(bundle, ("torchscript",))) == []
    both = open_streamed(bundle, ("onnxruntime", "torchscript", "onnxruntime-cpu"))
    assert [core.label for core in both] == [
        "core.streaming.onnx (onnxruntime)",
        "core.streaming.onnx (onnxruntime-cpu)",
    ]


def test_a_streaming_core_is_no_plain_core(tmp_path: Path) -> None:
    write_streaming_bundle(tmp_path / "b", Core())
    assert list(open_artifacts(open_bundle(tmp_path / "b"), ("core", "pipeline"))) == []


@pytest.mark.parametrize(("initial", "passes"), [(0.0, True), (0.01, False)])
def test_the_bundle_proves_its_streaming_core(initial: float, passes: bool, tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=4), stft=None)
    given = noise(2, 1, 101)
    expected = given.copy()
    for n in range(1, given.shape[-1]):
        expected[..., n] += expected[..., n - 1] / 2
    vectors = {"streaming.noise.input": given, "streaming.noise.output": expected}
    np.savez(path / "parity.npz", allow_pickle=False, **vectors)

    manifest = open_bundle(path).manifest
    (core,) = manifest.files
    assert core.streaming is not None
    states = tuple(msgspec.structs.replace(s, initial=initial) for s in core.streaming.states)
    streaming = msgspec.structs.replace(core.streaming, states=states)
    parity = parity_entry(path)
    files = (msgspec.structs.replace(core, streaming=streaming), parity)
    (path / MANIFEST_NAME).write_bytes(msgspec.structs.replace(manifest, files=files).to_json())

    (result,) = check_bundle(open_bundle(path))
    assert (result.artifact, result.case) == ("core.streaming.onnx", "streaming.noise")
    assert (result.floor_db, result.passed) == (90.0, passes)


def test_int8_streaming_cores_have_their_own_floor(tmp_path: Path) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 1, 2))
    add_int8(path, lambda model: scaled(model, 1.05), "cpu", "core.streaming.onnx")  # 26 dB
    add_int8(path, lambda model: scaled(model, 1.2), "tensorrt", "core.streaming.onnx")  # 14 dB
    results = [r for r in check_bundle(open_bundle(path)) if "streaming" in r.artifact]
    assert [(result.floor_db, result.passed) for result in results] == [
        (90.0, True),
        (20.0, True),
        (20.0, False),
    ]
