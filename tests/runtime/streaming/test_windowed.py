from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime import BackendError, Denoiser, UserError
from frcrn_export.runtime.audio.framing import whole_hops
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import Padding, Segments, StftSpec
from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser
from frcrn_export.runtime.streaming.windowed import Windows, WindowTransform
from tests.bundles import SAMPLE_RATE, STFT, manifest, write_bundle

SEGMENT = 16_384
FIXED = {
    "padding": Padding(rule="multiple", size=SEGMENT),
    "segments": Segments(length=SEGMENT, left=0, right=0, above=SEGMENT),
}


@pytest.fixture(scope="module")
def spectrum_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("w") / "spec", manifest(stft=STFT), gain=0.5)


@pytest.fixture(scope="module")
def segment_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    described = manifest(level="peak", **FIXED)
    path = tmp_path_factory.mktemp("w") / "segments"
    return write_bundle(path, described, gain=0.5, samples=SEGMENT)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def run(denoiser: StreamingDenoiser, audio: np.ndarray, length: int) -> np.ndarray:
    parts = [denoiser.process(audio[s : s + length]) for s in range(0, len(audio), length)]
    return np.concatenate([*parts, denoiser.flush()])


@pytest.mark.parametrize("samples", [0, 1, 3_999, 40_000, 51_234])
@pytest.mark.parametrize("length", [320, 5_000])
def test_every_sample_comes_out_in_its_place(
    spectrum_bundle: Path, segment_bundle: Path, samples: int, length: int
) -> None:
    audio = noise(samples)
    for bundle in (spectrum_bundle, segment_bundle):
        denoiser = StreamingDenoiser.open(bundle, windowed=True)
        streamed = run(denoiser, audio, length)
        assert len(streamed) == samples
        np.testing.assert_allclose(streamed, 0.5 * audio, atol=1e-6)


def test_a_network_of_finite_memory_gives_what_it_gives_offline(wave_unet_streaming: Path) -> None:
    denoiser = StreamingDenoiser.open(
        wave_unet_streaming, threads=1, windowed=True, gain=1.0, high_pass=False
    )
    session = Denoiser.open(wave_unet_streaming, threads=1).session
    audio = noise(64 * 1_000)
    offline = session.run(audio[None, None])[0, 0]
    memory = denoiser.manifest.segments.left
    window = denoiser._network.session.inputs.shape[1]
    assert memory < window - denoiser.latency_samples  # or this would show nothing
    streamed = run(denoiser, audio, 1_000)
    assert snr_db(offline[memory:], streamed[memory:]) > 100


def test_delay_and_cost_are_stated(spectrum_bundle: Path, segment_bundle: Path) -> None:
    frcrn = StreamingDenoiser.open(spectrum_bundle, windowed=True).latency
    assert (frcrn.chunk, frcrn.window, frcrn.lookahead, frcrn.passes) == (4_000, 0, 2_000, 4)
    segments = StreamingDenoiser.open(segment_bundle, windowed=True)
    assert segments.latency.samples == segments.latency_samples == 4_096 + 2_048
    longer = StreamingDenoiser.open(spectrum_bundle, windowed=2.0).latency
    assert (longer.chunk, longer.passes) == (8_000, 4)


def test_the_stated_delay_is_the_largest_that_occurs(segment_bundle: Path) -> None:
    denoiser = StreamingDenoiser.open(segment_bundle, windowed=True)
    returned = largest = 0
    for index, sample in enumerate(noise(2 * denoiser.latency_samples)[:, None]):
        returned += len(denoiser.process(sample))
        largest = max(largest, index + 1 - returned)
    assert largest == denoiser.latency_samples - 1


def test_windows_fade_into_each_other() -> None:
    """Windows that hold 0, 1, 2, ... give steps that are ramps, each `fade` long."""
    transform = WindowTransform(Windows(length=16, stride=4, right=3, fade=2), SAMPLE_RATE)
    outputs = []
    for value in range(5):
        transform.analyse(np.zeros(4, np.float32), np.empty(16, np.float32))
        outputs.extend(transform.synthesise(np.full(16, value, np.float32)))
    expected = [0, 0.25, 0.75, 1, 1, 1.25, 1.75, 2, 2, 2.25, 2.75, 3, 3, 3.25, 3.75, 4, 4]
    np.testing.assert_allclose(outputs, expected)


def test_reset_forgets_everything(segment_bundle: Path) -> None:
    denoiser = StreamingDenoiser.open(segment_bundle, windowed=True)
    expected = run(denoiser, noise(20_000), 700)
    denoiser.reset()
    denoiser.process(5 * noise(9_000, seed=1))
    denoiser.reset()
    np.testing.assert_array_equal(run(denoiser, noise(20_000), 700), expected)


def test_many_streams_in_windows(segment_bundle: Path) -> None:
    many = MultiStream.open(segment_bundle, windowed=True)
    alone = [StreamingDenoiser.open(segment_bundle, windowed=True) for _ in range(2)]
    streams = [many.add(), many.add()]
    for lengths in ((9_000, 0), (100, 12_000), (8_000, 8_000)):
        audio = [noise(length, seed) for seed, length in enumerate(lengths)]
        results = many.process(dict(zip(streams, audio, strict=True)))
        for stream, denoiser, part in zip(streams, alone, audio, strict=True):
            np.testing.assert_array_equal(results[stream], denoiser.process(part))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 61.0, float("nan")])
def test_a_window_has_a_length(spectrum_bundle: Path, seconds: float) -> None:
    with pytest.raises(UserError, match="more than 0, at most 60"):
        StreamingDenoiser.open(spectrum_bundle, windowed=seconds)


def test_windows_that_the_network_cannot_take(
    spectrum_bundle: Path, segment_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"takes windows of 1.024 s alone, not 2; leave the length"):
        StreamingDenoiser.open(segment_bundle, windowed=2.0)
    with pytest.raises(UserError, match=r"0.1 s is too short for gain; give at least 0.25"):
        StreamingDenoiser.open(spectrum_bundle, windowed=0.1)
    pipeline = write_bundle(tmp_path / "pipeline", role="pipeline")
    with pytest.raises(BackendError, match=r"export the core: frcrn-export onnx --model gain"):
        StreamingDenoiser.open(pipeline, windowed=True)


def test_without_a_length_windows_are_as_long_as_the_network_needs(tmp_path: Path) -> None:
    segments = Segments(length=48_000, left=12_000, right=12_000, above=48_000)
    bundle = write_bundle(tmp_path / "b", manifest(stft=STFT, segments=segments), gain=0.5)
    denoiser = StreamingDenoiser.open(bundle, windowed=True)
    assert denoiser._network.session.inputs.shape == (1, 24_000)
    np.testing.assert_allclose(run(denoiser, noise(30_000), 999), 0.5 * noise(30_000), atol=1e-6)


def test_windows_of_one_length_that_drop_too_much(tmp_path: Path) -> None:
    right = SEGMENT // 2 + 1
    segments = Segments(length=SEGMENT, left=0, right=right, above=SEGMENT)
    described = manifest(padding=FIXED["padding"], segments=segments)
    bundle = write_bundle(tmp_path / "b", described, samples=SEGMENT)
    with pytest.raises(UserError, match="gain takes windows of 1.024 s and drops 0.5120"):
        StreamingDenoiser.open(bundle, windowed=True)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_centred_frames_in_windows(tmp_path: Path, rate: int) -> None:
    stft = StftSpec(window_length=512, hop_length=192, fft_length=512, window="hann", center=True)
    segments = Segments(length=960 * 10, left=960, right=960, above=960 * 20)
    described = manifest(stft=stft, segments=segments, padding=whole_hops(stft), sample_rate=rate)
    bundle = write_bundle(tmp_path / "b", described, gain=0.5)
    for windowed in (True, 0.5):
        denoiser = StreamingDenoiser.open(bundle, windowed=windowed)
        streamed = run(denoiser, noise(50_000), 999)
        np.testing.assert_allclose(streamed, 0.5 * noise(50_000), atol=1e-5)


def test_segments_that_are_no_whole_frames_are_rounded_up(tmp_path: Path) -> None:
    stft = StftSpec(window_length=400, hop_length=160, fft_length=400)
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=stft), gain=1.0)
    denoiser = StreamingDenoiser.open(bundle, windowed=True)
    assert denoiser._network.session.inputs.shape == (1, 16_080)
    np.testing.assert_allclose(run(denoiser, noise(30_000), 999), noise(30_000), atol=1e-5)
