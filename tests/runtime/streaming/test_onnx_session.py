from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import UNKNOWN_END
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.streaming.onnx_session import OnnxStreamSession
from frcrn_export.runtime.streaming.session import open_stream_session
from tests.bundles import replace_core, write_bundle, write_manifest
from tests.int8_standins import quantization
from tests.streaming_bundles import Core, write_streaming_bundle


def test_an_onnx_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "bundle", Core(lookahead=2), stft=None)
    foreign = write_bundle(tmp_path / "foreign") / "core.onnx"
    replace_core(path, foreign.read_bytes())
    with pytest.raises(BackendError) as caught:
        open_stream_session(open_bundle(path), "onnxruntime-cpu", 1)
    message = str(caught.value)
    assert "core.streaming.onnx: not the file that the manifest describes" in message
    assert "inputs: inputs, past, wave; run: frcrn-export onnx --model gain" in message


def test_states_in_bytes(tmp_path: Path) -> None:
    """They begin as what stands for 0.0, come back as they are, and are anyone's to load."""
    path = write_streaming_bundle(tmp_path / "b", Core("coarse", chunk=4, lookahead=4), stft=None)
    session = open_stream_session(open_bundle(path), "onnxruntime-cpu", 1)
    ends = np.full(1, UNKNOWN_END, np.float32)
    given = np.array([[[0.5, -0.25, 0.01, 9.0]]], np.float32)
    assert not session.run(given, ends).any()
    (kept,) = session.states()
    assert kept.dtype == np.uint8
    assert kept.tolist() == [[[144, 120, 128, 255]]]
    late = [[[0.5, -0.25, 0.0, 127 / 32]]]
    assert session.run(given, ends).tolist() == late
    session.load([kept.repeat(2, axis=0)], 2)
    assert session.run(np.zeros((2, 1, 4), np.float32), ends.repeat(2)).tolist() == late * 2
    session.reset([1])
    (now,) = session.states()
    assert now.tolist() == [[[128] * 4], [[128] * 4]]
    (initial,) = session.initial_states()
    assert (initial.dtype, initial.tolist()) == (np.uint8, [[[128] * 4]])


@pytest.mark.parametrize("change", [{"dtype": "float32"}, {"shape": ("batch", 1, 5)}])
def test_int8_states_of_another_kind_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core("coarse", chunk=4, lookahead=4), stft=None)
    described = open_bundle(path).manifest
    (entry,) = described.files
    assert entry.streaming is not None
    (state,) = entry.streaming.states
    states = (msgspec.structs.replace(state, **change),)
    streaming = msgspec.structs.replace(entry.streaming, states=states)
    entry = msgspec.structs.replace(
        entry, streaming=streaming, precision="int8", quantization=quantization()
    )
    write_manifest(path, msgspec.structs.replace(described, files=(entry,)))
    with pytest.raises(BackendError) as caught:
        open_stream_session(open_bundle(path), "onnxruntime-cpu", 1, precision="int8")
    message = str(caught.value)
    assert "not the file that the manifest describes, other inputs: past; run: " in message
    assert message.endswith(
        f"run: frcrn-export calibrate {path} --for cpu --calib FOLDER --streaming "
        "--method percentile --clips 64 --seed 3 --force"
    )


@pytest.mark.parametrize(("threads", "expected"), [(None, 1), (2, 2)])
def test_a_stream_has_one_thread_and_none_waits_busily_between_hops(
    tmp_path: Path, threads: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    bundle = open_bundle(write_streaming_bundle(tmp_path / "bundle", Core()))
    session = open_stream_session(bundle, "onnxruntime-cpu", threads)
    assert isinstance(session, OnnxStreamSession)
    options = session._session.get_session_options()
    assert options.intra_op_num_threads == expected
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
