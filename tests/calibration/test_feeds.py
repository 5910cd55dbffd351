from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from frcrn_export.calibration.feeds import Feed, calls, excerpt, feeds, session_run
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.level import measure_gain
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.manifest import Level, Padding, Segments
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import AudioError
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.network import network_of
from frcrn_export.runtime.streaming.session import open_stream_session
from tests.bundles import STFT, core_entry, manifest
from tests.streaming_bundles import Core, write_streaming_bundle

RATE = 16_000


def speech(samples: int, seed: int = 1) -> Float32Array:
    """Noise in bursts, quiet enough for the level rules to have something to do."""
    envelope = 0.02 * (1 + np.sin(np.arange(samples) / 900.0))
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (envelope * noise).astype(np.float32)


@pytest.mark.parametrize("level", ["active_rms", "peak", "none"])
def test_a_spectrum_core_is_fed_the_levelled_padded_spectrum(level: Level) -> None:
    audio = speech(30_000)
    described = manifest(stft=STFT, level=level)
    (feed,) = feeds(described, core_entry(STFT), audio)
    gain = measure_gain(lambda: [audio[None]], level).astype(np.float32)
    padded = np.zeros((1, 30_000 + 16_000 + 2_000), np.float32)  # the published rule
    padded[:, :30_000] = audio * gain
    assert list(feed) == ["inputs"]
    np.testing.assert_array_equal(feed["inputs"], Stft(STFT).analysis(padded))


def test_a_waveform_core_is_fed_the_padded_wave() -> None:
    audio = speech(30_000)
    described = manifest(padding=Padding(rule="multiple", size=4096))
    (feed,) = feeds(described, core_entry(), audio)
    assert feed["inputs"].shape == (1, 1, 32_768)
    np.testing.assert_array_equal(feed["inputs"][0, 0, :30_000], audio)
    assert not feed["inputs"][0, 0, 30_000:].any()


def test_a_core_of_one_length_is_fed_window_by_window() -> None:
    audio = speech(30_000)
    described = manifest(
        padding=Padding(rule="multiple", size=16_384),
        segments=Segments(length=16_384, left=0, right=0, above=16_384),
    )
    first, second = feeds(described, core_entry(samples=16_384), audio)
    np.testing.assert_array_equal(first["inputs"][0, 0], audio[:16_384])
    np.testing.assert_array_equal(second["inputs"][0, 0, : 30_000 - 16_384], audio[16_384:])


def test_of_a_long_recording_the_loudest_part_is_an_utterance() -> None:
    audio = speech(5 * RATE)
    audio[40_000:48_000] *= 10
    (feed,) = feeds(
        manifest(padding=Padding(rule="multiple", size=1)), core_entry(), audio, None, 0.5
    )
    np.testing.assert_array_equal(feed["inputs"][0, 0], audio[40_000:48_000])
    (whole,) = feeds(manifest(), core_entry(), audio)
    assert whole["inputs"].shape[2] >= len(audio)


def test_the_first_of_equally_loud_parts_is_taken() -> None:
    audio = np.tile(np.array([1.0, 0.0, 0.0], np.float32), 5)
    np.testing.assert_array_equal(excerpt(audio, 4), [1, 0, 0, 1])
    assert excerpt(audio, 15) is audio
    loud_end = np.array([0, 0, 0, 1], np.float32)
    np.testing.assert_array_equal(excerpt(loud_end, 2), [0, 1])


def test_each_call_runs_once_and_gives_all_outputs() -> None:
    fed: list[Feed] = []

    def run(feed: Feed) -> dict[str, Float32Array]:
        fed.append(feed)
        return {"enhanced": feed["inputs"] / 2, "inside": feed["inputs"] + 1}

    found = list(calls(manifest(), core_entry(), speech(20_000), run))
    assert [feed for feed, _ in found] == fed
    np.testing.assert_array_equal(found[0][1]["inside"], fed[0]["inputs"] + 1)


def test_audio_that_cannot_be_denoised_cannot_be_fed() -> None:
    for bad in (np.zeros(0, np.float32), np.full(20_000, np.nan, np.float32)):
        with pytest.raises(AudioError):
            list(feeds(manifest(), core_entry(), bad))


class Spy:
    """A stream session that copies what each call reads."""

    def __init__(self, bundle: Bundle) -> None:
        self._session = open_stream_session(bundle, "onnxruntime-cpu", 1)
        self.read: list[tuple[Float32Array, Float32Array, Sequence[Float32Array]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, inputs: Float32Array, ends: Float32Array) -> Float32Array:
        self.read.append((inputs.copy(), ends.copy(), self._session.states()))
        return self._session.run(inputs, ends)


@pytest.mark.parametrize(
    ("core", "spectrum", "level"),
    [
        (Core("halved_end", lookahead=3), True, "active_rms"),
        (Core("delay", chunk=4, lookahead=2), True, "peak"),
        (Core("one_pole", chunk=160), False, "active_rms"),
    ],
)
def test_a_streaming_core_is_fed_what_the_stream_has(
    core: Core, spectrum: bool, level: Level, tmp_path: Path
) -> None:
    path = write_streaming_bundle(tmp_path / "b", core, STFT if spectrum else None, level)
    bundle = open_bundle(path)
    (entry,) = bundle.manifest.files
    audio = speech(9_000)
    spy = Spy(bundle)
    denoiser = StreamingDenoiser(network_of(bundle, spy))
    expected = np.concatenate([denoiser.process(audio[:1_234]), denoiser.process(audio[1_234:])])
    denoiser.flush()
    session = onnxruntime.InferenceSession(path / entry.path, providers=["CPUExecutionProvider"])
    found = list(feeds(bundle.manifest, entry, audio, session))
    assert entry.streaming is not None
    assert len(found) == len(spy.read) > 5
    for feed, (inputs, ends, states) in zip(found, spy.read, strict=True):
        np.testing.assert_array_equal(feed[entry.inputs[0].name], inputs)
        if entry.streaming.end is not None:
            np.testing.assert_array_equal(feed[entry.streaming.end], ends)
        for spec, state in zip(entry.streaming.states, states, strict=True):
            np.testing.assert_array_equal(feed[spec.name], state)
        assert set(feed) == {tensor.name for tensor in entry.call_inputs}
    assert expected.any()
    # The states really moved on, and each feed holds its own.
    name = entry.streaming.states[0].name
    assert not np.array_equal(found[3][name], found[-1][name])


def test_the_outputs_of_a_stream_come_with_its_feeds(tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=16), None)
    described = open_bundle(path).manifest
    (entry,) = described.files
    session = onnxruntime.InferenceSession(path / entry.path, providers=["CPUExecutionProvider"])
    audio = speech(160)
    found = list(calls(described, entry, audio, session_run(session)))
    enhanced = np.concatenate([outputs["enhanced"].ravel() for _, outputs in found])
    state, expected = 0.0, []
    for sample in audio:
        state = float(sample) + state / 2
        expected.append(state)
    np.testing.assert_allclose(enhanced, expected, rtol=1e-5, atol=1e-7)


def test_a_streaming_core_needs_a_session(tmp_path: Path) -> None:
    described = open_bundle(write_streaming_bundle(tmp_path / "b", Core("one_pole"), None)).manifest
    with pytest.raises(ValueError, match="session"):
        feeds(described, described.files[0], speech(100))
