import math

import pytest
import torch

from frcrn_export.exporters.training.losses import (
    denoising_loss,
    level_error_db,
    si_snr_db,
    spectral_distance,
)


def wave(seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(seed))


def test_si_snr_is_the_ratio_at_any_scale() -> None:
    clean, noise = wave(0), wave(1)
    for gain in (1.0, 0.01, 30.0):
        values = si_snr_db(gain * (clean + 0.1 * noise), clean)
        assert values.tolist() == pytest.approx([20.0, 20.0], abs=0.6)  # the cap takes some


def test_si_snr_is_capped() -> None:
    assert si_snr_db(wave(0), wave(0)).tolist() == pytest.approx([30.0, 30.0], abs=0.01)


def test_spectral_distance_sees_level_and_shape() -> None:
    clean = wave(0)
    assert spectral_distance(clean, clean).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    near, far = spectral_distance(0.9 * clean, clean), spectral_distance(0.5 * clean, clean)
    assert (near > 0).all()
    assert (far > near).all()
    assert (spectral_distance(wave(1), clean) > 0).all()


def test_level_error_is_that_of_the_clean_part_alone() -> None:
    clean, noise = wave(0), wave(1)
    for gain_db in (-6.0, 0.0, 3.0):
        estimate = 10 ** (gain_db / 20) * clean + 0.01 * noise
        expected = [abs(gain_db)] * 2
        assert level_error_db(estimate, clean).tolist() == pytest.approx(expected, abs=0.05)
    assert level_error_db(-clean, clean).tolist() == pytest.approx([60.0, 60.0])
    noisy = clean + noise
    right, loud = (denoising_loss(noisy, gain * clean, clean, 0.0) for gain in (1.0, 1.4))
    assert float(loud - right) > 1.0


def test_silence_is_trained_by_the_spectra_alone() -> None:
    noisy, silence = wave(0), torch.zeros(2, 1, 8000)
    estimate = wave(1).requires_grad_()
    loud = denoising_loss(noisy, estimate, silence, 10.0)
    quiet = denoising_loss(noisy, 0.01 * estimate, silence, 10.0)
    assert loud > quiet > 0
    loud.backward()
    assert estimate.grad is not None
    assert torch.isfinite(estimate.grad).all()
    at_rest = denoising_loss(noisy, silence.requires_grad_(), silence.detach(), 10.0)
    at_rest.backward()
    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()


def test_loss_is_the_same_at_every_level() -> None:
    noisy, estimate, clean = wave(0), wave(1), wave(2)
    one = denoising_loss(noisy, estimate, clean, 10.0)
    other = denoising_loss(0.1 * noisy, 0.1 * estimate, 0.1 * clean, 10.0)
    assert math.isclose(float(one), float(other), rel_tol=1e-4)
