from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.source import array_source
from frcrn_export.runtime.streaming import StreamingDenoiser
from frcrn_export.runtime.streaming.audio_stream import AudioStream, Meter, StreamedSources
from frcrn_export.runtime.streaming.network import Network, open_network
from tests.bundles import STFT
from tests.streaming_bundles import Core, write_streaming_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "bundle"
    return write_streaming_bundle(path, Core(lookahead=3), STFT, level="peak")


@pytest.fixture(scope="module")
def network(bundle: Path) -> Network:
    return open_network(bundle, "onnxruntime-cpu", 1)


def noise(channels: int, samples: int) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((channels, samples))
    return (0.1 * values).astype(np.float32)


def run(stream: AudioStream, audio: np.ndarray, length: int) -> np.ndarray:
    parts = [
        stream.process(audio[:, start : start + length])
        for start in range(0, audio.shape[1], length)
    ]
    return np.concatenate([*parts, stream.flush()], axis=1)


def test_every_channel_is_a_stream_of_its_own(bundle: Path, network: Network) -> None:
    audio = noise(3, 5_000) * np.array([[1], [5], [0.1]], np.float32)
    got = run(AudioStream(network, 16_000, 3), audio, 777)
    for channel, samples in enumerate(audio):
        alone = StreamingDenoiser.open(bundle, threads=1)
        expected = np.concatenate([alone.process(samples), alone.flush()])
        np.testing.assert_array_equal(got[channel], expected)


@given(
    rate=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    samples=st.integers(0, 20_000),
    length=st.integers(100, 20_000),
)
@settings(max_examples=25)
def test_as_many_samples_come_out_as_went_in(
    network: Network, rate: int, samples: int, length: int
) -> None:
    audio = noise(2, samples)
    got = run(AudioStream(network, rate, 2), audio, length)
    assert got.shape == audio.shape
    again = run(AudioStream(network, rate, 2), audio, 1_000)
    np.testing.assert_array_equal(got, again)


def test_other_rates_keep_their_place_in_time(network: Network) -> None:
    low = soxr.resample(noise(1, 8_000).T, 8_000, 48_000)  # well inside what 16 kHz can hold
    audio = np.ascontiguousarray(low.T)
    got = run(AudioStream(network, 48_000, gain=1.0), audio, 960)
    inner = slice(3_000, 40_000)
    error = np.sqrt(np.mean((got - audio)[:, inner] ** 2) / np.mean(audio[:, inner] ** 2))
    assert error < 1e-2


def test_what_is_not_finite_reaches_no_filter(network: Network) -> None:
    audio = noise(1, 9_600)
    audio[0, 5_000:5_010] = 0
    bad = audio.copy()
    bad[0, 5_000:5_010] = [np.nan, np.inf] * 5
    stream = AudioStream(network, 48_000)
    np.testing.assert_array_equal(
        run(stream, bad, 960), run(AudioStream(network, 48_000), audio, 960)
    )
    assert stream.replaced_samples == 10
    assert np.isnan(bad).any()  # the caller's array stays as it was


def test_sources_are_streamed(network: Network) -> None:
    audio = noise(2, 100_000)
    denoiser = StreamedSources(network)
    for _ in range(2):  # nothing of the first is left in the second
        blocks = list(denoiser.stream(array_source(audio, 16_000)))
        expected = run(AudioStream(network, 16_000, 2), audio, 320)
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), expected)


def test_a_meter_counts_what_comes_too_late(network: Network) -> None:
    stream = AudioStream(network, 16_000)
    meter = Meter(stream)
    for seconds in (0.001, 0.001, 0.021, 0.021, 0.099, 0.019, 0.021):
        before = stream.returned
        stream.process(noise(1, 320))
        meter.add(seconds, before)
    # 20 + 20 + 60 ms of delay: the first that comes out has had 100 ms of time.
    assert (meter.calls, meter.misses) == (3, 1)
    assert meter.delay_ms == 100 == 1000 * stream.latency.samples / 16_000
    assert meter.real_time_factor == pytest.approx(0.183 / 0.14)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_dc_leaves_no_edges_in_audio_of_another_rate(bundle: Path, rate: int) -> None:
    network = open_network(bundle, "onnxruntime-cpu", 1, high_pass=True)
    audio = noise(2, 20_000)
    without, with_dc = (
        run(AudioStream(network, rate, 2), audio + np.float32(dc), 480) for dc in (0.0, 0.5)
    )
    np.testing.assert_allclose(with_dc, without, atol=1e-5)
    assert not np.allclose(without, run(AudioStream(network, 16_000, 2), audio, 480), atol=1e-3)
