"""FRCRN in its deployable form: real-valued, batch norms folded, stateless, fewer products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn.lowered_unet import LoweredUNet
from frcrn_export.exporters.families.frcrn.network import FRCRN


class LoweredFrcrn(nn.Module):
    """Spectrum [B, 2, F, T] (real, imaginary) to the enhanced spectrum of the same shape."""

    def __init__(self, network: FRCRN) -> None:
        super().__init__()
        self.unet = LoweredUNet(network.unet)
        self.unet2 = LoweredUNet(network.unet2)

    def forward(self, spec: Tensor) -> Tensor:
        u1 = self.unet(spec.transpose(2, 3))  # [B, 2, T, F]
        u2 = self.unet2(u1)
        mask = (torch.tanh(u1) + torch.tanh(u2)).transpose(2, 3)
        mask_re, mask_im = mask[:, :1], mask[:, 1:]
        re, im = spec[:, :1], spec[:, 1:]
        return torch.cat((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)


def lower_frcrn(network: FRCRN) -> nn.Module:
    """The deployable form of ``network``, in eval mode and of its dtype; the weights are copied.

    It equals the network in eval mode, for every batch size and every T >= 1.
    """
    with torch.no_grad():
        return LoweredFrcrn(network).eval()
