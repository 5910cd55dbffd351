"""Squeeze-and-excitation on complex pairs [B, C, T, F], without rank-changing squeezes."""

from __future__ import annotations

from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn import network_layers as frcrn_layers
from frcrn_export.exporters.families.frcrn.complex_conv import ComplexPair, conv_of
from frcrn_export.exporters.families.frcrn.network_layers import Pooling, causal_mean


class ComplexSqueezeExcite(nn.Module):
    """Channel gains from the means over time and frequency; the parts are scaled separately."""

    def __init__(self, layer: frcrn_layers.SqueezeExcite) -> None:
        super().__init__()
        self.gains_re = self._gains(layer.fc_r)
        self.gains_im = self._gains(layer.fc_i)
        self.pooling = layer.pooling

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
        gain_re, gain_im = self.of_means(pool(re, self.pooling), pool(im, self.pooling))
        return re * gain_re, im * gain_im

    def of_means(self, mean_re: Tensor, mean_im: Tensor) -> ComplexPair:
        """The gains of each part from the means of each part, [B, C, T or 1, 1]."""
        gain_re: Tensor = self.gains_re(mean_re) - self.gains_im(mean_im)
        gain_im: Tensor = self.gains_re(mean_im) + self.gains_im(mean_re)
        return gain_re, gain_im


def pool(x: Tensor, pooling: Pooling) -> Tensor:
    """Means of [B, C, T, F] over frequency and what of time ``pooling`` says: [B, C, T or 1, 1]."""
    if pooling == "global":
        return x.mean((2, 3), keepdim=True)
    return causal_mean(x.mean(3, keepdim=True), None if pooling == "cumulative" else pooling)
