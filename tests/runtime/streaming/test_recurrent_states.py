"""Streams of networks whose states are those of a GRU or LSTM."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from frcrn_export.runtime.bundle.manifest import UNKNOWN_END
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.streaming import StreamingDenoiser
from frcrn_export.runtime.streaming.session import StreamSession, open_stream_session
from tests.recurrent_networks import write_recurrent_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine

KINDS = {"GRU": nn.GRU, "LSTM": nn.LSTM}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def outputs(session: StreamSession, given: np.ndarray) -> np.ndarray:
    """Given [calls, B, ...] to the outputs of the same shape."""
    ends = np.full(given.shape[1], UNKNOWN_END, np.float32)
    return np.stack([session.run(call, ends).copy() for call in given])


@pytest.fixture(scope="module", params=KINDS)
def frame_by_frame(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("bundles") / request.param
    return write_recurrent_bundle(path, KINDS[request.param])


@pytest.fixture(params=[1, 3])
def bundle(request: pytest.FixtureRequest, frame_by_frame: Path, tmp_path: Path) -> Bundle:
    if request.param == 1:
        return open_bundle(frame_by_frame)
    return open_bundle(
        write_recurrent_bundle(tmp_path / "b", KINDS[frame_by_frame.name], request.param)
    )


def test_a_stream_is_the_whole(bundle: Bundle) -> None:
    wave = noise(8_000)
    streaming = StreamingDenoiser.open(bundle, "onnxruntime-cpu")
    parts = [streaming.process(block) for block in np.array_split(wave, 7)]
    streamed = np.concatenate([*parts, streaming.flush()])
    whole = Denoiser.open(bundle, "onnxruntime-cpu")(wave)
    hop = 320  # the first and last of which offline divides by a window that has hardly begun
    np.testing.assert_allclose(streamed[hop:-hop], whole[hop:-hop], atol=1e-5)
    assert np.abs(whole[hop:-hop]).max() > 0.05


def test_rows_are_streams_of_their_own(frame_by_frame: Path) -> None:
    bundle = open_bundle(frame_by_frame)
    session = open_stream_session(bundle, "onnxruntime-cpu", 1)
    given = noise(6, 2, 2, 321, 1)
    alone = outputs(session, given[:, 1:])
    session.resize(2)
    session.reset()
    together = outputs(session, given)
    np.testing.assert_allclose(together[:, 1:], alone, atol=1e-6)
    session.reset([0])
    again = outputs(session, np.stack([given[0, 0], noise(2, 321, 1, seed=1)])[None])
    np.testing.assert_allclose(again[0, 0], together[0, 0], atol=1e-6)
    kept = session.states()
    expected = outputs(session, given)
    session.load(kept, 2)
    np.testing.assert_array_equal(outputs(session, given), expected)


def test_an_engine_carries_them_on_the_gpu(
    frame_by_frame: Path, gpu: SimulatedGpu, tmp_path: Path
) -> None:
    path = shutil.copytree(frame_by_frame, tmp_path / "b")
    shape = (1, 2, 321, 1)
    add_engine(path, "tensorrt-rtx", low=shape, best=shape, high=shape)
    bundle = open_bundle(path)
    given = noise(6, *shape)
    sessions = [open_stream_session(bundle, b, 1) for b in ("onnxruntime-cpu", "tensorrt-rtx")]
    expected, found = (outputs(session, given) for session in sessions)
    np.testing.assert_array_equal(found, expected)
