"""Losses of training: SI-SNR with the distance of compressed magnitude spectra."""

from collections.abc import Sequence

import torch
from torch import Tensor

FFT_LENGTHS = (256, 1024)
COMPRESSION = 0.3  # exponent of magnitudes, close to that of perceived loudness
SI_SNR_CAP_DB = 30.0  # an example beyond it has no gradient
LEVEL_WEIGHT = 0.5  # of the level's error in dB, against SI-SNR in dB


def si_snr_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """Scale-invariant SNR in dB of [B, 1, N] signals, a value an example [B], softly capped at 30.

    Source: Luo and Mesgarani, "Conv-TasNet", 2019, section II.C, with the soft threshold of Wisdom
    et al., "Unsupervised sound separation using mixture invariant training", 2020, eq. 2.
    """
    estimate = estimate.flatten(1) - estimate.flatten(1).mean(1, keepdim=True)  # [B, N]
    clean = clean.flatten(1) - clean.flatten(1).mean(1, keepdim=True)  # [B, N]
    power = clean.square().sum(1, keepdim=True) + 1e-12
    target = (estimate * clean).sum(1, keepdim=True) / power * clean
    error = (estimate - target).square().sum(1)
    signal = target.square().sum(1)
    cap = 10.0 ** (-SI_SNR_CAP_DB / 10.0)
    return 10.0 * torch.log10((signal + 1e-9) / (error + cap * signal + 1e-9))


def level_error_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """The absolute level error in dB of the clean signal in the estimate, [B, 1, N] to [B].

    At most 60 dB. SI-SNR does not determine the level.
    """
    estimate, clean = estimate.flatten(1), clean.flatten(1)  # [B, N]
    gain = (estimate * clean).sum(1) / (clean.square().sum(1) + 1e-12)
    return (20.0 * torch.log10(gain.clamp(min=1e-3))).abs()


def spectral_distance(
    estimate: Tensor, clean: Tensor, fft_lengths: Sequence[int] = FFT_LENGTHS
) -> Tensor:
    """Mean absolute difference of compressed magnitudes, [B, 1, N] to [B], over all resolutions."""
    distances = []
    for fft_length in fft_lengths:
        window = torch.hann_window(fft_length, device=clean.device)
        pair = torch.cat([estimate, clean]).flatten(1)  # [2B, N]
        spec = torch.stft(
            pair, fft_length, fft_length // 2, window=window, return_complex=True, normalized=True
        )
        power = torch.view_as_real(spec).square().sum(-1)  # [2B, F, T]
        # The offset keeps the slope finite where a bin is silent.
        one, other = (power + 1e-8).pow(COMPRESSION / 2).chunk(2)
        distances.append((one - other).abs().mean((1, 2)))
    return torch.stack(distances).mean(0)


def denoising_loss(noisy: Tensor, estimate: Tensor, clean: Tensor, spectral: float) -> Tensor:
    """The scalar to minimise: minus SI-SNR in dB plus `spectral` times the spectral distance.

    All signals are [B, 1, N] float32. Spectra are compared at the same level for every example;
    examples without speech have this term alone. SI-SNR does not determine the level, and
    compressed spectra alone settle 3 dB too high, so the level error is a third term.
    """
    level = noisy.flatten(1).square().mean(1).sqrt().clamp(min=1e-5)[:, None, None]  # [B, 1, 1]
    distance = spectral_distance(estimate / level, clean / level)
    speaks = clean.flatten(1).square().mean(1) > 1e-10
    error = LEVEL_WEIGHT * level_error_db(estimate, clean) - si_snr_db(estimate, clean)
    return (spectral * distance + torch.where(speaks, error, 0.0)).mean()
