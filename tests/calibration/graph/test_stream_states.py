"""What the manifest says of the states of a quantized stream."""

import msgspec
import numpy as np
import onnx
import pytest

from frcrn_export.calibration.graph.signals import find_signals
from frcrn_export.calibration.graph.stream_states import state_tensors, with_states_of
from frcrn_export.calibration.graph.uint8 import quantize_signals
from frcrn_export.runtime.bundle.manifest import FileEntry, StateSpec, StreamingInfo
from tests.bundles import core_entry
from tests.calibration.graphs import signal_ranges, streaming_network, wave

MODEL = streaming_network()
STATE = StateSpec(name="state", next="state.next", shape=("batch", 32, 2))


@pytest.fixture
def entry() -> FileEntry:
    info = StreamingInfo(chunk=1, lookahead=0, states=(STATE,))
    return msgspec.structs.replace(core_entry(), streaming=info)


def quantized(names: list[str], state: float) -> onnx.ModelProto:
    """With a state around which values are."""
    around = np.random.default_rng(0).standard_normal((1, 32, 2)).astype(np.float32)
    feed = {**wave(1), "state": around + np.float32(state)}
    return quantize_signals(
        MODEL, names, signal_ranges(MODEL, [feed]), "minmax", find_signals(MODEL)
    )


def test_states_are_the_last_inputs_and_outputs() -> None:
    assert state_tensors(MODEL.graph) == [("state", "state.next")]
    quiet = onnx.ModelProto()
    quiet.CopyFrom(MODEL)
    del quiet.graph.output[1:]
    assert state_tensors(quiet.graph) == []


def test_a_state_in_uint8_begins_with_what_stands_for_zero(entry: FileEntry) -> None:
    names = [signal.name for signal in find_signals(MODEL)]
    for around in (-8.0, 8.0):
        model = quantized(names, around)
        assert entry.streaming is not None
        made = with_states_of(model.SerializeToString(), entry).streaming
        assert made is not None
        (state,) = made.states
        assert (state.name, state.next, state.shape) == (STATE.name, STATE.next, STATE.shape)
        assert state.dtype == "uint8"
        zero = next(t for t in model.graph.initializer if t.name == "state_zero_point")
        assert state.initial == int(onnx.numpy_helper.to_array(zero))
        assert (state.initial > 128) == (around < 0)


def test_others_stay_as_they_are(entry: FileEntry) -> None:
    assert with_states_of(quantized(["first.out"], 0.0).SerializeToString(), entry) == entry
    offline = core_entry()
    assert with_states_of(MODEL.SerializeToString(), offline) is offline
