import pytest
import torch

from frcrn_export.exporters.families.frcrn.losses import frcrn_loss, ideal_mask
from frcrn_export.exporters.families.frcrn.network import apply_mask
from tests.exporters.training.test_losses import wave


def spectrum(seed: int) -> torch.Tensor:
    return torch.randn(2, 2, 5, 7, generator=torch.Generator().manual_seed(seed))


def test_ideal_mask_makes_the_clean_spectrum() -> None:
    noisy = spectrum(0)
    mask = torch.empty(2, 2, 5, 7).uniform_(-1.9, 1.9, generator=torch.Generator().manual_seed(1))
    found = ideal_mask(noisy, apply_mask(mask, noisy))
    assert torch.allclose(found, mask, atol=1e-4)


def test_ideal_mask_beyond_reach_is_one() -> None:
    noisy = spectrum(0)
    wanted = torch.zeros(2, 2, 5, 7)
    wanted[:, 0], wanted[:, 1] = 2.5, -3.0
    found = ideal_mask(noisy, apply_mask(wanted, noisy))
    assert found[:, 0].unique().tolist() == [1.0]
    assert found[:, 1].unique().tolist() == [-1.0]
    assert not ideal_mask(torch.zeros(2, 2, 5, 7), noisy).any()  # silence asks for nothing


def test_frcrn_loss_weighs_rows_and_leaves_silence_to_the_mask() -> None:
    ideal = spectrum(0)
    one_off = ideal.clone()
    one_off[:, 1] += 1.0  # the imaginary part
    clean, silence = wave(0), torch.zeros(2, 1, 8000)
    assert float(frcrn_loss(ideal, ideal, clean, clean)) == pytest.approx(-30.0, abs=0.01)
    assert float(frcrn_loss(one_off, ideal, clean, clean)) == pytest.approx(-20.0, abs=0.01)
    assert float(frcrn_loss(one_off, ideal, wave(1), silence)) == pytest.approx(10.0, abs=1e-4)
