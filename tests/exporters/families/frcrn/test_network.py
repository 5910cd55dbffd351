from pathlib import Path

import numpy as np
import pytest
import torch

from frcrn_export.exporters.families.frcrn.network import (
    FRCRN,
    FRCRN_16K,
    FRCRN_16K_512,
    FrcrnConfig,
)
from tests.golden_weights import DATA, frcrn_golden_state

WINDOW_LENGTH, HOP_LENGTH = 640, 320
WINDOW = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_LENGTH) / WINDOW_LENGTH))
ALL_GOLDEN = Path(__file__).parents[5] / "shared/golden/frcrn/golden.npz"


def stft(wave: np.ndarray) -> torch.Tensor:  # [B, N] -> [B, 2, F, T]
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW_LENGTH, axis=-1)
    spec = np.fft.rfft(frames[:, ::HOP_LENGTH] * WINDOW).swapaxes(1, 2)
    return torch.from_numpy(np.stack((spec.real, spec.imag), axis=1).astype(np.float32))


def istft(spec: torch.Tensor) -> np.ndarray:  # [B, 2, F, T] -> [B, N]
    re, im = spec.numpy().astype(np.float64).swapaxes(2, 3).swapaxes(0, 1)
    frames = np.fft.irfft(re + 1j * im) * WINDOW
    wave = np.zeros((len(frames), WINDOW_LENGTH + HOP_LENGTH * (frames.shape[1] - 1)))
    weight = np.zeros(wave.shape[1])
    for t in range(frames.shape[1]):
        span = slice(t * HOP_LENGTH, t * HOP_LENGTH + WINDOW_LENGTH)
        wave[:, span] += frames[:, t]
        weight[span] += WINDOW**2
    return wave / (weight + 1e-8)


@pytest.fixture(scope="module")
def network() -> FRCRN:
    network = FRCRN(FRCRN_16K)
    network.load_state_dict(frcrn_golden_state())
    return network.eval()


def assert_close(actual: torch.Tensor | np.ndarray, expected: np.ndarray) -> None:
    """Within 1e-4 of the largest expected value, and finite."""
    error = np.abs(np.asarray(actual).reshape(expected.shape) - expected).max()
    assert error <= 1e-4 * np.abs(expected).max()


@torch.inference_mode()
def test_short_clip_equals_the_published_network(network: FRCRN) -> None:
    golden = np.load(DATA / "frcrn/golden.npz")
    spec = stft(golden["in_1000"])
    enhanced = network(spec)
    assert_close(network.mask(spec), golden["mask_1000"])
    assert_close(enhanced, golden["spec_1000"])
    assert_close(istft(enhanced), golden["wav_1000"])


@torch.inference_mode()
def test_one_second_equals_the_published_network(network: FRCRN) -> None:
    golden = np.load(DATA / "frcrn/golden.npz")
    spec = stft(golden["in_16000"])
    assert_close(network.mask(spec)[..., 20:24], golden["mask_16000_20_24"])
    assert_close(network(spec)[..., 20:24], golden["spec_16000_20_24"])


@pytest.mark.slow
@pytest.mark.skipif(not ALL_GOLDEN.exists(), reason="needs ../shared: all golden vectors")
@pytest.mark.parametrize("case", ["640", "1000", "16000", "38363", "batch"])
@torch.inference_mode()
def test_all_golden_vectors(network: FRCRN, case: str) -> None:
    golden = np.load(ALL_GOLDEN)
    spec = stft(golden[f"in_{case}"])
    enhanced = network(spec)
    assert_close(istft(enhanced), golden[f"wav_{case}"])
    if f"spec_{case}" in golden:
        assert_close(enhanced, golden[f"spec_{case}"])
        assert_close(network.mask(spec), golden[f"mask_{case}"])


@pytest.mark.parametrize("config", [FRCRN_16K, FRCRN_16K_512], ids=["321", "257"])
@pytest.mark.parametrize("frames", [1, 4])
@torch.inference_mode()
def test_output_has_the_shape_of_the_input(config: FrcrnConfig, frames: int) -> None:
    spec = torch.randn(2, 2, config.bins, frames)
    assert FRCRN(config).eval()(spec).shape == spec.shape


def test_decoders_mirror_the_encoders() -> None:
    assert FRCRN_16K.rows == (321, 159, 78, 37, 17, 7, 2, 1)
    assert [k for k, _ in FRCRN_16K.decoder_kernels] == [2, 5, 5, 5, 6, 5, 5]
    assert FRCRN_16K_512.rows == (257, 127, 62, 29, 13, 5, 2, 1)


def test_kernels_that_do_not_fit_the_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="shrink 321 bins to 2 rows"):
        FrcrnConfig(bins=321, encoder_kernels=((5, 2),) * 6)
