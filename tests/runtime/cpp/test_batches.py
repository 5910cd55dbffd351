"""Streams in a batch: each gives what it gives alone, whoever else is there."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.runtime.cpp.library import FrcrnError, Library
from tests.runtime.cpp.test_recordings import noise, same
from tests.runtime.cpp.test_streams import SHORT
from tests.streaming_bundles import Core, write_streaming_bundle

STREAMS = 4
# What a stream does between two calls of the batch.
EVENTS = st.sampled_from(["give", "give", "give", "wait", "flush", "reset"])


@settings(max_examples=60)
@given(
    rounds=st.lists(
        st.tuples(*[st.tuples(EVENTS, st.integers(0, 200)) for _ in range(STREAMS)]), max_size=10
    ),
    core=st.sampled_from(
        [Core("delay", 2, 3), Core("halved_end", 1, 4), Core("coarse", 1, 2), Core("one_pole", 2)]
    ),
)
def test_a_stream_gives_what_it_gives_alone(
    rounds: list, core: Core, library: Library, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("batch") / "bundle"
    bundle = write_streaming_bundle(path, core, SHORT, "active_rms")
    batch = library.open(bundle).batch(STREAMS)
    alone = [StreamingDenoiser.open(bundle, "onnxruntime-cpu") for _ in range(STREAMS)]
    flushed = [False] * STREAMS
    for number, events in enumerate(rounds):
        blocks = []
        for stream, (event, count) in enumerate(events):
            if event == "flush" and not flushed[stream]:
                same(batch.flush(stream), alone[stream].flush())
                flushed[stream] = True
            if event == "reset":
                batch.reset(stream)
                alone[stream].reset()
                flushed[stream] = False
            gives = event == "give" and not flushed[stream]
            blocks.append(noise(count if gives else 0, seed=10 * number + stream))
        for stream, found in enumerate(batch.process(blocks)):
            if len(blocks[stream]):
                same(found, alone[stream].process(blocks[stream]))
            else:
                assert not len(found)


def test_wrong_use_says_what_is_wrong(library: Library, tmp_path: Path) -> None:
    bundle = write_streaming_bundle(tmp_path / "bundle", Core(), SHORT)
    model = library.open(bundle)
    for streams in (0, 257):
        with pytest.raises(FrcrnError, match=f"FRCRN_ARGUMENT: {streams} streams"):
            model.batch(streams)
    with pytest.raises(FrcrnError, match="FRCRN_AUDIO.*48000 Hz"):
        model.batch(2, sample_rate=48_000)
    batch = model.batch(2)
    batch.process([noise(100), noise(0)])
    batch.flush(0)
    with pytest.raises(FrcrnError, match="FRCRN_STATE: stream 0 was flushed already"):
        batch.flush(0)
    with pytest.raises(FrcrnError, match="FRCRN_STATE: stream 0 was flushed; call frcrn_batch_re"):
        batch.process([noise(10), noise(10)])
    with pytest.raises(FrcrnError, match="FRCRN_ARGUMENT: stream 2 of 2"):
        batch.reset(2)
    assert len(batch.process([np.empty(0, np.float32), noise(200)])[1]) > 0
