"""What no stream may die of: bad samples, extremes, and hours."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from frcrn_export.exporters.assets import DEMO_NOISY
from frcrn_export.exporters.bundle import export_onnx
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.streaming_export import StreamingOptions
from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser
from tests.bundles import STFT, manifest, write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle

RATE = 16_000
RNG = np.random.default_rng(0)


def noise(samples: int, rms: float = 0.1) -> np.ndarray:
    return (rms * RNG.standard_normal(samples)).astype(np.float32)


def clicks(samples: int) -> np.ndarray:
    wave = np.zeros(samples, np.float32)
    wave[::1_003] = 1.0
    wave[500::1_003] = -1.0
    return wave


EXTREMES = {
    "silence": np.zeros(4_000, np.float32),
    "full-scale noise": RNG.uniform(-1, 1, 4_000).astype(np.float32),
    "a square wave": np.sign(np.sin(np.arange(4_000) * 0.3)).astype(np.float32),
    "clicks": clicks(4_000),
    "a constant": np.ones(4_000, np.float32),
    "far beyond full scale": np.full(4_000, 6e4, np.float32),
    "denormals": np.full(4_000, 1e-40, np.float32),
    "nothing but NaN": np.full(4_000, np.nan, np.float32),
    "infinities": np.tile(np.float32([np.inf, -np.inf]), 2_000),
}


def run(denoiser: StreamingDenoiser, audio: np.ndarray, length: int = 640) -> np.ndarray:
    parts = [denoiser.process(audio[s : s + length]) for s in range(0, len(audio), length)]
    return np.concatenate(parts)


@pytest.mark.parametrize("name", EXTREMES)
def test_a_wave_unet_forgets_anything_after_its_memory(
    wave_unet_streaming: Path, name: str
) -> None:
    """With the gain fixed: the network's memory is its receptive field."""
    before, after = noise(6_400), noise(12_800)
    poisoned, clean = (
        StreamingDenoiser.open(wave_unet_streaming, threads=1, gain=1.0, high_pass=False)
        for _ in range(2)
    )
    wave = EXTREMES[name]
    streams = [
        run(denoiser, np.concatenate((before, middle, after)))
        for denoiser, middle in ((poisoned, wave), (clean, noise(len(wave))))
    ]
    assert np.isfinite(streams[0]).all()
    memory = poisoned.manifest.segments.left
    healthy = len(before) + len(wave) + memory
    np.testing.assert_array_equal(streams[0][healthy:], streams[1][healthy:])
    assert poisoned.replaced_samples == np.count_nonzero(~np.isfinite(wave))


@pytest.mark.slow
def test_float16_goes_on_after_samples_that_are_beyond_it(tmp_path: Path) -> None:
    """They would give NaN for 2 s, and for ever where means keep everything: they are clipped."""
    model = load_model("wave-unet-16k")
    export_onnx(model, tmp_path / "b", fp16=True, streaming=StreamingOptions())
    wave = noise(6 * RATE, 0.05)
    wave[2 * RATE : 2 * RATE + 4] = 6e4
    denoiser = StreamingDenoiser.open(
        tmp_path / "b", threads=1, gain=10.0, precision="fp16", high_pass=False
    )
    out = run(denoiser, wave)
    assert (denoiser.failed_calls, denoiser.limited_calls > 0) == (0, True)
    assert np.isfinite(out).all()
    alone = StreamingDenoiser.open(
        tmp_path / "b", threads=1, gain=10.0, precision="fp16", high_pass=False
    )
    memory = denoiser.manifest.segments.left
    quiet = run(alone, np.concatenate((wave[: 2 * RATE], noise(640), wave[2 * RATE + 640 :])))
    healthy = 2 * RATE + 640 + memory
    np.testing.assert_array_equal(out[healthy:], quiet[healthy:])


@pytest.mark.parametrize("name", ["full-scale noise", "clicks", "nothing but NaN"])
def test_the_level_forgets_after_its_ten_seconds(tmp_path: Path, name: str) -> None:
    """With the causal level: it outlasts a loud event by ten seconds of sound, and no more."""
    bundle = write_streaming_bundle(tmp_path / "bundle", Core(lookahead=3), STFT, "active_rms")
    before, after = noise(3 * RATE, 0.01), noise(16 * RATE, 0.01)
    middle = EXTREMES[name]
    results = []
    for wave in (middle, noise(len(middle), 0.01)):
        denoiser = StreamingDenoiser.open(bundle, threads=1, restore_level=False)
        results.append(run(denoiser, np.concatenate((before, wave, after))))
    healthy = len(before) + len(middle) + 13 * RATE  # ten seconds, and the gain's slow rise
    # Silent blocks are not remembered, so the ten seconds are not the same ten to the sample, and
    # the threshold of the level moves by whole bins of its histogram. Without forgetting, the gain
    # would be off by a factor of a hundred.
    np.testing.assert_allclose(results[0][healthy:], results[1][healthy:], rtol=3e-2, atol=1e-6)


def test_a_hop_allocates_next_to_nothing(wave_unet_streaming: Path) -> None:
    hop = 64
    denoiser = StreamingDenoiser.open(wave_unet_streaming, threads=1)
    many = MultiStream.open(wave_unet_streaming, threads=1)
    streams = [many.add() for _ in range(3)]
    audio = noise(400 * hop)

    def loop(first: int, last: int) -> Iterator[None]:
        for start in range(first * hop, last * hop, hop):
            chunk = audio[start : start + hop]
            denoiser.process(chunk)
            many.process(dict.fromkeys(streams, chunk))
            yield

    for _ in loop(0, 100):
        pass
    tracemalloc.start()
    try:
        for _ in loop(100, 110):
            pass
        began = tracemalloc.get_traced_memory()[0]
        largest = 0
        for _ in loop(110, 400):
            held, peak = tracemalloc.get_traced_memory()
            largest = max(largest, peak - held)
            tracemalloc.reset_peak()
        growth = tracemalloc.get_traced_memory()[0] - began
    finally:
        tracemalloc.stop()
    # The samples that are returned, and small Python objects; a state alone has 100 kB and more.
    assert largest < 16_384
    assert growth < 16_384


@pytest.mark.parametrize("name", ["full-scale noise", "nothing but NaN"])
def test_windows_forget_what_left_them(tmp_path: Path, name: str) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=STFT), gain=0.5)
    before, after = noise(RATE), noise(4 * RATE)
    results = []
    for middle in (EXTREMES[name], noise(4_000)):
        denoiser = StreamingDenoiser.open(bundle, windowed=True, gain=1.0)
        results.append(run(denoiser, np.concatenate((before, middle, after))))
    assert np.isfinite(results[0]).all()
    healthy = len(before) + 4_000 + RATE  # a window
    np.testing.assert_array_equal(results[0][healthy:], results[1][healthy:])


@pytest.fixture(scope="module")
def default_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged wave-unet-16k, 128 ms a call."""
    from frcrn_export.exporters.bundle import export_onnx
    from frcrn_export.exporters.streaming_export import StreamingOptions

    path = tmp_path_factory.mktemp("soak") / "bundle"
    model = load_model("wave-unet-16k")
    return export_onnx(model, path, streaming=StreamingOptions(chunk=16)).path


@pytest.mark.slow
def test_ten_minutes_change_nothing(default_bundle: Path) -> None:
    """The same 64 s again and again: memory stays flat, and the last are as if just begun.

    64 s are a whole number of calls and of the level's seconds, so a fresh stream that has heard
    them once is in the very state of one that has heard them nine times.
    """
    call, period = 2_048, 64 * RATE
    demo, rate = soundfile.read(DEMO_NOISY, dtype="float32")
    assert rate == RATE
    swell = 0.55 + 0.45 * np.sin(np.arange(period) * (2 * np.pi / period))
    audio = (np.resize(demo, period) * swell).astype(np.float32)
    soak, fresh = (
        StreamingDenoiser.open(default_bundle, threads=1, high_pass=False) for _ in range(2)
    )
    process = psutil.Process()
    for index in range(9):
        assert np.isfinite(run(soak, audio, call)).all()
        if index == 0:
            resident = process.memory_info().rss
    last = run(soak, audio, call)
    assert abs(process.memory_info().rss - resident) < 5 * 2**20
    run(fresh, audio, call)
    np.testing.assert_array_equal(last, run(fresh, audio, call))
    assert np.abs(last).max() > 0.01
    assert soak.replaced_samples == 0
