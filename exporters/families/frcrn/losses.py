"""The published loss of FRCRN."""

import torch
from torch import Tensor

from frcrn_export.exporters.training.losses import si_snr_db


def ideal_mask(noisy: Tensor, clean: Tensor) -> Tensor:
    """The complex ratio mask that makes the clean spectrum of the noisy one, all [B, 2, F, T].

    Values beyond +-2, which FRCRN's mask cannot reach, become +-1, as published.
    """
    re, im = noisy.unbind(1)
    clean_re, clean_im = clean.unbind(1)
    product = torch.stack((clean_re * re + clean_im * im, clean_im * re - clean_re * im), dim=1)
    mask = product / (re.square() + im.square() + 1e-8)[:, None]
    return torch.where(mask.abs() > 2.0, mask.sign(), mask)


def frcrn_loss(mask: Tensor, ideal: Tensor, estimate: Tensor, clean: Tensor) -> Tensor:
    """The scalar to minimise: minus SI-SNR in dB, plus the error of the mask.

    Masks are [B, 2, F, T], signals [B, 1, N]. The mask is the sum of both U-Nets' masks; its error
    is the mean square of the real part plus that of the imaginary part, times the 2F rows. So weigh
    ModelScope's trainer and, with two rows less, ClearerVoice-Studio's; the paper is Zhao et al.,
    "FRCRN", ICASSP 2022. Here, as elsewhere, SI-SNR is softly capped, and left out where nobody
    speaks.
    """
    error = (mask - ideal).square().mean((2, 3)).sum(1) * 2 * mask.shape[2]  # [B]
    speaks = clean.flatten(1).square().mean(1) > 1e-10
    return (error - torch.where(speaks, si_snr_db(estimate, clean), 0.0)).mean()
