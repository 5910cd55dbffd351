"""Recordings through libfrcrn: the samples that Python gives."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from frcrn_export.runtime.audio.framing import whole_hops
from frcrn_export.runtime.bundle.manifest import HighPass, Level, Padding, Segments, StftSpec
from frcrn_export.runtime.denoiser import Denoiser
from tests.bundles import CENTRED, STFT, centred_manifest, manifest, write_bundle
from tests.runtime.cpp.library import FrcrnError, Library
from tests.runtime.cpp.networks import write_sum_bundle

# Of full scale: what double and float32 transforms may differ by.
CLOSE = 2e-6
EDGE = 100  # samples


def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """Noise that comes and goes, with a pause of silence."""
    rng = np.random.default_rng(seed)
    wave = level * rng.standard_normal(samples) * np.sin(np.arange(samples) / 3_000) ** 2
    wave[samples // 3 : samples // 2] = 0
    return wave.astype(np.float32)


def check(library: Library, bundle: Path, wave: np.ndarray, rate: int | None = None) -> None:
    denoiser = Denoiser.open(bundle, "onnxruntime-cpu")
    model = library.open(bundle)
    for restore_level in (True, False):
        for limit in (None, 0.0, 9.0):
            found = model.denoise(
                wave,
                sample_rate=rate or 0,
                keep_level=int(not restore_level),
                attenuation_limit_db=-1.0 if limit is None else limit,
            )
            same(found, denoiser(wave, rate, restore_level, limit))


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to rounding. At both ends of a signal windows fade to 0, and what is divided by them is
    less exact, in Python's float32 too."""
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    inner = slice(EDGE, max(EDGE, len(found) - EDGE))
    np.testing.assert_allclose(found[inner], expected[inner], rtol=0, atol=CLOSE * scale)
    np.testing.assert_allclose(found, expected, rtol=0, atol=500 * CLOSE * scale)


TRANSFORMS = {
    "whole": STFT,
    "padded": StftSpec(window_length=320, hop_length=160, fft_length=512),
    "hann": StftSpec(window_length=400, hop_length=100, fft_length=400, window="hann"),
    "two-windows": StftSpec(
        window_length=400,
        hop_length=160,
        fft_length=502,
        window="hamming",
        synthesis_window="sqrt_hann",
    ),
    "centred": CENTRED,
    "centred-zeros": StftSpec(
        window_length=400, hop_length=100, fft_length=512, center=True, pad_mode="zeros"
    ),
}


@pytest.mark.parametrize("stft", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms_give_the_samples_of_python(
    stft: StftSpec, library: Library, tmp_path: Path
) -> None:
    described = manifest(stft=stft, padding=whole_hops(stft))
    bundle = write_bundle(tmp_path / "bundle", described, gain=0.5)
    for samples in (1, 399, 640, 1_601, 20_000):
        check(library, bundle, noise(samples))


@pytest.mark.parametrize("level", ["active_rms", "peak", "none"])
def test_levels_give_the_samples_of_python(level: Level, library: Library, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=STFT, level=level), gain=0.5)
    for wave in (
        noise(9_000),
        noise(9_000, level=1e-5),
        np.zeros(700, np.float32),
        np.full(700, 0.25, np.float32),  # constant magnitude: no sample above the mean
        np.full(700, 1e-42, np.float32),  # denormal
    ):
        check(library, bundle, wave)


@pytest.mark.parametrize(
    ("rule", "size", "stride"), [("multiple", 640, 1), ("hops", 640, 320), ("windows", 1_280, 960)]
)
def test_padding_rules_give_the_samples_of_python(
    rule: str, size: int, stride: int, library: Library, tmp_path: Path
) -> None:
    padding = msgspec.convert({"rule": rule, "size": size, "stride": stride}, Padding)
    described = manifest(stft=None, padding=padding)
    bundle = write_sum_bundle(tmp_path / "bundle", described)
    for samples in (1, size - 1, size, size + 1, size + stride, 2 * size + stride + 7):
        check(library, bundle, noise(samples))


@pytest.mark.parametrize("stft", [None, STFT], ids=["waveform", "spectrum"])
def test_windows_give_the_samples_of_python(
    stft: StftSpec | None, library: Library, tmp_path: Path
) -> None:
    segments = Segments(length=3_200, left=640, right=320, above=5_000)
    described = manifest(stft=stft, segments=segments, level="active_rms")
    bundle = write_sum_bundle(tmp_path / "bundle", described)
    for samples in (5_000, 5_001, 6_400, 7_679, 7_680, 7_681, 20_011):
        check(library, bundle, noise(samples))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_every_rate_gives_the_samples_of_python(
    rate: int, library: Library, tmp_path: Path
) -> None:
    described = msgspec.structs.replace(centred_manifest(), high_pass=HighPass())
    bundle = write_bundle(tmp_path / "bundle", described, gain=0.5)
    check(library, bundle, noise(rate // 2) + np.float32(0.2), rate)


def test_the_filter_against_dc_gives_the_samples_of_python(
    library: Library, tmp_path: Path
) -> None:
    described = msgspec.structs.replace(manifest(stft=STFT), high_pass=HighPass())
    bundle = write_bundle(tmp_path / "bundle", described)
    for samples in (1, 5_000, 65_536, 65_537, 200_000):
        wave = noise(samples) + np.float32(0.3)
        expected = Denoiser.open(bundle, "onnxruntime-cpu")(wave)
        same(library.open(bundle).denoise(wave), expected)
        off = Denoiser.open(bundle, "onnxruntime-cpu", high_pass=False)(wave)
        same(library.open(bundle, high_pass=0).denoise(wave), off)


def test_what_enters_the_core_is_bounded(library: Library, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=None))
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"input_limit": null', '"input_limit": 0.05'))
    wave = noise(4_000)
    found = library.open(bundle).denoise(wave)
    np.testing.assert_array_equal(found, np.clip(wave, -0.05, 0.05))


def test_a_file_with_the_whole_pipeline(library: Library, tmp_path: Path) -> None:
    segments = Segments(length=3_200, left=0, right=0, above=5_000)
    described = manifest(stft=STFT, level="active_rms", segments=segments)
    bundle = write_bundle(tmp_path / "bundle", described, gain=0.5, role="pipeline")
    wave = noise(4_000)
    model = library.open(bundle)
    np.testing.assert_array_equal(model.denoise(wave), wave * np.float32(0.5))
    with pytest.raises(FrcrnError, match="restores the level inside"):
        model.denoise(wave, keep_level=1)
    with pytest.raises(FrcrnError, match="takes at most 5000 samples"):
        model.denoise(noise(5_001))


def test_output_that_is_not_finite_is_an_error(library: Library, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=None), gain=3e38)
    with pytest.raises(FrcrnError, match="FRCRN_OUTPUT.*NaN or infinite"):
        library.open(bundle).denoise(noise(2_000) * 100)
