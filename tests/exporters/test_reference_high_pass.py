"""The recursion of the high-pass and the runtime's blocks, which share no code."""

import numpy as np

from frcrn_export.exporters.reference_high_pass import filtered_recording, filtered_stream
from frcrn_export.runtime.audio.high_pass import HighPassFilter, high_passed_blocks

RATE = 16_000
TIMES = np.arange(8_000) / RATE


def test_the_runtime_gives_the_same_samples() -> None:
    noise = np.random.default_rng(0).standard_normal(len(TIMES)).astype(np.float32)
    blocks = high_passed_blocks([noise[None]], 20.0, RATE)
    recording = np.concatenate(list(blocks), axis=1)[0]
    np.testing.assert_allclose(recording, filtered_recording(noise, 20.0, RATE), atol=1e-6)
    stream = HighPassFilter(10.0, RATE)(noise[None])[0]
    np.testing.assert_allclose(stream, filtered_stream(noise, 10.0, RATE), atol=1e-6)


def test_an_offset_leaves_no_trace_and_sound_stays() -> None:
    tone = 0.1 * np.hanning(len(TIMES)) * np.sin(2 * np.pi * 1_000 * TIMES)
    shifted = (tone + 0.3).astype(np.float32)
    assert np.abs(filtered_stream(shifted, 10.0, RATE) - tone).max() < 4e-3
    assert np.abs(filtered_recording(shifted, 20.0, RATE) - tone).max() < 4e-3
    assert not filtered_recording(np.full(100, 0.3, np.float32), 20.0, RATE).any()
