from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime import AudioError, BackendError, BundleError, Denoiser
from tests.bundles import STFT, GainSession, core_entry, frcrn_segments, manifest, write_bundle


def tones(channels: int, samples: int, rate: int) -> np.ndarray:
    time = np.arange(samples) / rate
    return np.stack(
        [0.3 * np.sin(2 * np.pi * 440 * (1 + c) * time) for c in range(channels)]
    ).astype(np.float32)


def pass_through(above: int = 100_000) -> Denoiser:
    described = manifest(stft=STFT, level="active_rms", segments=frcrn_segments(above))
    return Denoiser(described, GainSession(core_entry(STFT)))


@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    samples=st.integers(1, 30_000),
    channels=st.one_of(st.none(), st.integers(1, 3)),
    above=st.sampled_from([0, 100_000]),
)
@settings(deadline=None, max_examples=30)
def test_shape_and_type_are_those_of_the_input(
    rate: int, samples: int, channels: int | None, above: int
) -> None:
    audio = tones(channels or 1, samples, rate)
    result = pass_through(above)(audio if channels else audio[0], rate)
    assert result.shape == ((channels, samples) if channels else (samples,))
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("above", [0, 100_000])
def test_a_pass_through_core_gives_the_input_at_any_rate(rate: int, above: int) -> None:
    audio = tones(2, 2 * rate, rate)
    result = pass_through(above)(audio, rate)
    inner = slice(rate // 4, -rate // 4)
    np.testing.assert_allclose(result[:, inner], audio[:, inner], atol=2e-3)


def test_the_input_is_not_changed() -> None:
    audio = tones(1, 20_000, 16_000)
    before = audio.copy()
    pass_through()(audio)
    np.testing.assert_array_equal(audio, before)


def test_silence_stays_silence() -> None:
    assert not pass_through()(np.zeros(20_000, np.float32)).any()


@pytest.mark.parametrize("formats", [("onnx",), ("torchscript",)])
def test_threads_share_a_denoiser(tmp_path: Path, formats: tuple) -> None:
    described = manifest(stft=STFT, level="active_rms", segments=frcrn_segments(20_000))
    bundle = write_bundle(tmp_path / "bundle", described, gain=0.5, formats=formats)
    denoiser = Denoiser.open(bundle, threads=1)
    audios = [(1 + n) * tones(1, 10_000 + 3_000 * n, 16_000) / 10 for n in range(8)]
    alone = [denoiser(audio) for audio in audios]
    with ThreadPoolExecutor(4) as pool:
        for expected, result in zip(alone, pool.map(denoiser, audios), strict=True):
            np.testing.assert_array_equal(result, expected)


def test_a_bundle_is_opened_and_run(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", gain=0.25)
    denoiser = Denoiser.open(str(bundle))
    assert denoiser.session.backend == "onnxruntime"
    audio = tones(1, 5_000, 16_000)[0]
    np.testing.assert_allclose(denoiser(audio), 0.25 * audio, rtol=1e-6)


def test_errors_come_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        Denoiser.open(tmp_path)
    bundle = write_bundle(tmp_path / "bundle")
    with pytest.raises(BackendError, match="did you mean onnxruntime"):
        Denoiser.open(bundle, backend="onxruntime")
    denoiser = Denoiser.open(bundle)
    with pytest.raises(AudioError, match="no samples"):
        denoiser(np.zeros(0, np.float32))
    with pytest.raises(AudioError, match="1 samples are NaN"):
        denoiser(np.array([0.0, np.nan], np.float32))
