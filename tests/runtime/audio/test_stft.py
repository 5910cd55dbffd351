import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.stft import Stft, periodic_window
from frcrn_export.runtime.bundle.manifest import StftSpec

PUBLISHED = StftSpec(window_length=640, hop_length=320, fft_length=640)
PADDED = StftSpec(window_length=320, hop_length=160, fft_length=512)
SPECS = pytest.mark.parametrize("spec", [PUBLISHED, PADDED], ids=["640", "512"])


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def basis(spec: StftSpec) -> np.ndarray:
    """The published [2F, W] DFT basis: cosines, then negative sines, cut to the window."""
    angles = 2 * np.pi * np.outer(np.arange(spec.bins), np.arange(spec.window_length))
    angles /= spec.fft_length
    return np.concatenate((np.cos(angles), -np.sin(angles)))


@st.composite
def specs(draw: st.DrawFn) -> StftSpec:
    half_window = draw(st.integers(1, 24))
    half_fft = half_window + draw(st.integers(0, 16))
    hop = draw(st.integers(1, 2 * half_window))
    return StftSpec(window_length=2 * half_window, hop_length=hop, fft_length=2 * half_fft)


def test_the_window_is_the_root_of_the_periodic_hann() -> None:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(640) / 640)
    np.testing.assert_allclose(periodic_window("sqrt_hann", 640) ** 2, hann, atol=1e-15)


@SPECS
def test_analysis_is_the_direct_dft_of_windowed_frames(spec: StftSpec) -> None:
    wave = noise(2, 2000)
    result = Stft(spec).analysis(wave)
    assert result.dtype == np.float32
    assert result.shape == (2, 2, spec.bins, spec.frames(2000))
    windowed_basis = basis(spec) * periodic_window("sqrt_hann", spec.window_length)
    for frame in range(result.shape[3]):
        start = frame * spec.hop_length
        expected = wave[:, start : start + spec.window_length] @ windowed_basis.T
        np.testing.assert_allclose(
            result[:, :, :, frame].reshape(2, -1), expected, atol=1e-4 * np.abs(expected).max()
        )


@given(spec=specs(), frames=st.integers(1, 9), seed=st.integers(0, 99))
def test_synthesis_is_the_pseudo_inverse_also_of_spectra_no_signal_has(
    spec: StftSpec, frames: int, seed: int
) -> None:
    """Also with zero-padded frames, where a plain inverse FFT differs for such spectra."""
    spectrum = noise(1, 2, spec.bins, frames, seed=seed)
    window = periodic_window("sqrt_hann", spec.window_length)
    inverse = np.linalg.pinv(basis(spec))  # [W, 2F]
    wave = np.zeros(spec.samples(frames))
    weight = np.zeros(spec.samples(frames))
    for frame in range(frames):
        part = slice(frame * spec.hop_length, frame * spec.hop_length + spec.window_length)
        wave[part] += window * (inverse @ spectrum[0, :, :, frame].reshape(-1))
        weight[part] += window**2
    result = Stft(spec).synthesis(spectrum)[0]
    # Compared before the division, which is by almost nothing where windows begin.
    # Terms may cancel: float32 rounds with what was added up, not with what is left.
    added = (np.abs(inverse) @ np.abs(spectrum[0]).reshape(-1, frames)).max()
    np.testing.assert_allclose(result * (weight + 1e-8), wave, atol=2e-6 * added)


@SPECS
@given(frames=st.integers(3, 40), extra=st.integers(0, 159), seed=st.integers(0, 99))
@settings(deadline=None)
def test_synthesis_gives_back_what_was_analysed(
    spec: StftSpec, frames: int, extra: int, seed: int
) -> None:
    stft = Stft(spec)
    samples = spec.samples(frames) + extra
    wave = noise(1, samples, seed=seed)
    result = stft.synthesis(stft.analysis(wave))
    assert result.shape == (1, spec.samples(frames))
    inner = slice(spec.hop_length, spec.samples(frames) - spec.hop_length)
    np.testing.assert_allclose(result[:, inner], wave[:, inner], atol=5e-6)


@SPECS
def test_both_directions_are_linear(spec: StftSpec) -> None:
    stft = Stft(spec)
    one, two = noise(1, 4000, seed=1), noise(1, 4000, seed=2)
    a, b = stft.analysis(one), stft.analysis(two)
    np.testing.assert_allclose(stft.analysis(3 * one - two), 3 * a - b, atol=1e-3)
    wave = stft.synthesis(3 * a - b)
    np.testing.assert_allclose(
        wave[:, 1:], (3 * stft.synthesis(a) - stft.synthesis(b))[:, 1:], atol=1e-3
    )


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    stft = Stft(PUBLISHED)
    wave = noise(3, 3000)
    together = stft.synthesis(stft.analysis(wave))
    for row in range(3):
        alone = stft.synthesis(stft.analysis(wave[row : row + 1]))
        np.testing.assert_array_equal(together[row : row + 1], alone)


@pytest.mark.parametrize("shape", [(1, 639), (640,), (1, 1, 640)])
def test_analysis_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="N >= 640"):
        Stft(PUBLISHED).analysis(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(1, 2, 320, 4), (2, 321, 4), (1, 2, 321, 0)])
def test_synthesis_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="321"):
        Stft(PUBLISHED).synthesis(np.zeros(shape, np.float32))


def test_odd_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="must be even"):
        Stft(StftSpec(window_length=639, hop_length=320, fft_length=640))
