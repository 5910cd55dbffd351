"""Squeeze-and-excitation on complex pairs [B, C, T, F], without rank-changing squeezes."""

from __future__ import annotations

from torch import Tensor, nn

from frcrn_export.exporters.lowering.complex_conv import ComplexPair, conv_of
from frcrn_export.exporters.networks import frcrn_layers


class ComplexSqueezeExcite(nn.Module):
    """Channel gains from the means over time and frequency; the parts are scaled separately."""

    def __init__(self, layer: frcrn_layers.SqueezeExcite) -> None:
        super().__init__()
        self.gains_re = self._gains(layer.fc_r)
        self.gains_im = self._gains(layer.fc_i)

    @staticmethod
    def _gains(fc: nn.Sequential) -> nn.Sequential:
        layers: list[nn.Module] = []
        for layer in fc:
            if isinstance(layer, nn.Linear):
                layer = conv_of(layer.weight[:, :, None, None], layer.bias)
            layers.append(layer)
        return nn.Sequential(*layers)

    def forward(self, x: ComplexPair) -> ComplexPair:
        re, im = x
        mean_re, mean_im = re.mean((2, 3), keepdim=True), im.mean((2, 3), keepdim=True)
        gain_re: Tensor = self.gains_re(mean_re) - self.gains_im(mean_im)  # [B, C, 1, 1]
        gain_im: Tensor = self.gains_re(mean_im) + self.gains_im(mean_re)
        return re * gain_re, im * gain_im
