"""Signals that are rounded by a switch, against files that have them in uint8."""

import numpy as np
import onnxruntime
import pytest

from frcrn_export.calibration.graph.signals import find_signals
from frcrn_export.calibration.graph.uint8 import quantize_signals
from frcrn_export.calibration.switches import SWITCHES, with_switches
from frcrn_export.runtime.audio.measures import snr_db
from tests.calibration.graphs import run, signal_ranges, summing_network, wave

MODEL = summing_network()
SIGNALS = find_signals(MODEL)
NAMES = [signal.name for signal in SIGNALS]
FEED = wave(3)
RANGES = signal_ranges(MODEL, [wave(1), wave(2)])


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    switched = with_switches(MODEL, SIGNALS, RANGES, "minmax")
    return onnxruntime.InferenceSession(
        switched.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def output(session: onnxruntime.InferenceSession, *names: str) -> np.ndarray:
    on = np.array([name in names for name in NAMES])
    found: np.ndarray = session.run(None, {**FEED, SWITCHES: on})[0]
    return found


def test_all_off_is_the_network_itself(session: onnxruntime.InferenceSession) -> None:
    assert snr_db(run(MODEL, FEED), output(session)) > 100


def test_each_of_them_is_heard_alone(session: onnxruntime.InferenceSession) -> None:
    exact = run(MODEL, FEED)
    alone = {name: snr_db(exact, output(session, name)) for name in NAMES}
    assert all(25 < snr < 70 for snr in alone.values())
    assert snr_db(exact, output(session, *NAMES)) < min(alone.values())
    assert len(set(alone.values())) == len(NAMES)  # each switch is one signal's


def test_switches_come_near_to_the_file(session: onnxruntime.InferenceSession) -> None:
    exact = run(MODEL, FEED)
    file = snr_db(exact, run(quantize_signals(MODEL, NAMES, RANGES, "minmax", SIGNALS), FEED))
    assert snr_db(exact, output(session, *NAMES)) == pytest.approx(file, abs=3)
