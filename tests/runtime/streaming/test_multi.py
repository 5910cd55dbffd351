from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime import AudioError, UserError
from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser
from tests.bundles import STFT
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle

CORES = {
    "end": (Core("halved_end", chunk=1, lookahead=3), STFT),
    "chunk": (Core(chunk=3, lookahead=2), STFT),
    "one pole": (Core("one_pole", chunk=16), None),
    "bytes": (Core("coarse", chunk=64, lookahead=100), None),
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("multi")
    return {
        name: write_streaming_bundle(root / name, core, stft, level="active_rms")
        for name, (core, stft) in CORES.items()
    }


def noise(samples: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(samples)
    return (0.1 * (1 + seed) * values).astype(np.float32)


class Pair:
    """A stream of a MultiStream, and a denoiser of its own that is given the same."""

    def __init__(self, many: MultiStream, bundle: Path, limit: float | None = None) -> None:
        self.stream = many.add(attenuation_limit=limit)
        self.alone = StreamingDenoiser.open(bundle, "onnxruntime-cpu", 1, attenuation_limit=limit)


# Each step: some streams join, some of those present get chunks, and perhaps one leaves.
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1500)), max_size=4),
        st.sampled_from(["stay", "flush", "remove"]),
    ),
    min_size=1,
    max_size=8,
)


@given(name=st.sampled_from(sorted(CORES)), plan=steps, limited=st.booleans())
@settings(max_examples=40)
def test_each_stream_is_as_if_it_were_alone(
    bundles: dict[str, Path], name: str, plan: list, limited: bool
) -> None:
    many = MultiStream.open(bundles[name], threads=1, max_streams=20 if limited else None)
    present: list[Pair] = []
    for step, (joining, chunks, leaving) in enumerate(plan):
        limits = [None, 6.0][:joining]
        present += [Pair(many, bundles[name], limit) for limit in limits]
        given = {index: length for index, length in chunks if index < len(present)}
        audio = {index: noise(length, 10 * step + index) for index, length in given.items()}
        results = many.process({present[index].stream: part for index, part in audio.items()})
        assert set(results) == {present[index].stream for index in given}
        for index, part in audio.items():
            expected = present[index].alone.process(part)
            np.testing.assert_array_equal(results[present[index].stream], expected)
        if leaving != "stay" and present:
            pair = present.pop(0)
            if leaving == "flush":
                np.testing.assert_array_equal(many.flush(pair.stream), pair.alone.flush())
            else:
                many.remove(pair.stream)
            assert pair.stream not in many
        assert len(many) == len(present)
    rest = many.flush_all()
    for pair in present:
        np.testing.assert_array_equal(rest[pair.stream], pair.alone.flush())


def test_a_real_network_gives_each_stream_its_own(wave_unet_streaming: Path) -> None:
    many = MultiStream.open(wave_unet_streaming, threads=1)
    alone = [StreamingDenoiser.open(wave_unet_streaming, threads=1) for _ in range(4)]
    audio = [noise(6_000, seed) for seed in range(4)]
    streams = [many.add() for _ in range(4)]
    got: list[list[np.ndarray]] = [[] for _ in range(4)]
    for start in range(0, 6_000, 500):
        # Each stream has pauses of its own, so that another batch goes through every time.
        now = [n for n in range(4) if (start // 500 + n) % 4]
        done = many.process({streams[n]: audio[n][start : start + 500] for n in now})
        for n in now:
            got[n].append(done[streams[n]])
    for n in range(4):
        got[n].append(many.flush(streams[n]))
        parts = [audio[n][s : s + 500] for s in range(0, 6_000, 500) if (s // 500 + n) % 4]
        expected = [*(alone[n].process(part) for part in parts), alone[n].flush()]
        np.testing.assert_allclose(np.concatenate(got[n]), np.concatenate(expected), atol=1e-5)


def test_streams_that_move_together_move_no_memory(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = MultiStream.open(bundles["end"], threads=1)
    streams = [many.add() for _ in range(3)]
    process = lambda: many.process({s: noise(320, s) for s in streams})  # noqa: E731
    for _ in range(5):
        process()
    session = many._session
    buffers, calls = session.inputs, []
    for name in ("load", "states"):
        monkeypatch.setattr(session, name, lambda *args: calls.append(args))
    for _ in range(10):
        process()
    assert calls == []
    assert session.inputs is buffers


def test_idle_streams_take_no_part(bundles: dict[str, Path]) -> None:
    many = MultiStream.open(bundles["one pole"])
    busy, idle = many.add(), many.add()
    many.process({busy: noise(64, 0), idle: noise(64, 1)})
    many.process({busy: noise(64, 0)})
    assert len(many._session.inputs) == 1
    many.process({idle: noise(8, 0)})  # not enough for a call
    assert len(many._session.inputs) == 1


def test_a_wrong_chunk_moves_no_stream(bundles: dict[str, Path]) -> None:
    many, alone = (
        open_(bundles["one pole"], threads=1)
        for open_ in (MultiStream.open, StreamingDenoiser.open)
    )
    first, second = many.add(), many.add()
    with pytest.raises(AudioError, match="got int16"):
        many.process({first: noise(100, 0), second: np.zeros(5, np.int16)})
    with pytest.raises(UserError, match=r"there is no stream 7; begin one with add\(\)"):
        many.process({first: noise(100, 0), 7: noise(100, 0)})
    np.testing.assert_array_equal(
        many.process({first: noise(320, 0)})[first], alone.process(noise(320, 0))
    )


def test_there_are_at_most_as_many_as_were_asked_for(bundles: dict[str, Path]) -> None:
    many = MultiStream.open(bundles["one pole"], max_streams=2)
    first, _ = many.add(), many.add()
    with pytest.raises(UserError, match=r"2 streams are there, as many as max_streams"):
        many.add()
    many.remove(first)
    assert many.add() == 2
    with pytest.raises(UserError, match="max_streams=0"):
        MultiStream.open(bundles["one pole"], max_streams=0)


def test_an_engine_keeps_its_rows(gpu: SimulatedGpu, tmp_path: Path) -> None:
    core = Core("halved_end", chunk=1, lookahead=3)
    bundle = write_streaming_bundle(tmp_path / "bundle", core, STFT, level="active_rms")
    shape = (3, 2, STFT.bins, 1)
    add_engine(bundle, "tensorrt", low=shape, best=shape, high=shape)
    many = MultiStream.open(bundle, "tensorrt", max_streams=3)
    pairs: list[Pair] = []
    for step, chunks in enumerate(
        [{0: 900}, {0: 320, 1: 1_000}, {1: 640, 2: 700}, {0: 10, 2: 999}]
    ):
        while len(pairs) <= max(chunks):
            pairs.append(Pair(many, bundle))
        audio = {pairs[index]: noise(length, step) for index, length in chunks.items()}
        done = many.process({pair.stream: part for pair, part in audio.items()})
        for pair, part in audio.items():
            np.testing.assert_array_equal(done[pair.stream], pair.alone.process(part))
    for pair in pairs:
        np.testing.assert_array_equal(many.flush(pair.stream), pair.alone.flush())
    assert MultiStream.open(bundle).backend == "onnxruntime"  # which can grow


def test_who_left_is_gone(bundles: dict[str, Path]) -> None:
    many = MultiStream.open(bundles["one pole"])
    stream = many.add()
    many.flush(stream)
    gone: list[Callable[[], object]] = [
        lambda: many.flush(stream),
        lambda: many.remove(stream),
        lambda: many.process({stream: noise(1, 0)}),
        lambda: many.replaced_samples(stream),
    ]
    for call in gone:
        with pytest.raises(UserError, match="there is no stream 0"):
            call()
    assert many.flush_all() == {}


def test_what_was_opened_is_said(bundles: dict[str, Path]) -> None:
    many = MultiStream.open(bundles["end"], "onnxruntime-cpu")
    assert (many.backend, many.device, many.sample_rate) == ("onnxruntime-cpu", "cpu", 16_000)
    assert many.latency == StreamingDenoiser.open(bundles["end"]).latency
    stream, other = many.add(), many.add(gain=1.0)
    many.process({stream: np.array([np.nan, 0.0]), other: np.zeros(2)})
    assert (many.replaced_samples(stream), many.replaced_samples(other)) == (1, 0)
