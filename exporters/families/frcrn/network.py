"""FRCRN reference network, after Zhao et al., "FRCRN: Boosting Feature Representation using
Frequency Recurrence for Monaural Speech Enhancement", ICASSP 2022.

Written for clarity, with the tensor names of the published weights (ModelScope
``damo/speech_frcrn_ans_cirm_16k``, ClearerVoice-Studio ``FRCRN_SE_16K``). The STFT is outside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn.network_layers import (
    ComplexConv2d,
    Decoder,
    Encoder,
    FrequencyFsmn,
    Pooling,
    SqueezeExcite,
    TimeFsmn,
)


@dataclass(frozen=True)
class FrcrnConfig:
    """Shape of an FRCRN; kernels are (frequency, time).

    Raises ValueError if the encoders do not shrink ``bins`` to exactly one row.
    """

    bins: int
    encoder_kernels: tuple[tuple[int, int], ...]
    channels: int = 128
    fsmn_hidden: int = 128
    fsmn_lorder: int = 20
    se_reduction: int = 8
    pooling: Pooling = "global"

    def __post_init__(self) -> None:
        if self.rows[-1] != 1:
            raise ValueError(f"encoders shrink {self.bins} bins to {self.rows[-1]} rows, not to 1")

    @property
    def depth(self) -> int:
        return len(self.encoder_kernels)

    @property
    def rows(self) -> tuple[int, ...]:
        """Size of the frequency axis at the input and after each encoder (stride 2)."""
        rows = [self.bins]
        for kernel, _ in self.encoder_kernels:
            rows.append((rows[-1] - kernel) // 2 + 1)
        return tuple(rows)

    @property
    def decoder_kernels(self) -> tuple[tuple[int, int], ...]:
        """The kernels with which stride-2 transposed convolutions give back the encoders' rows."""
        rows = self.rows[::-1]
        return tuple((after - 2 * (before - 1), 2) for before, after in pairwise(rows))


FRCRN_16K = FrcrnConfig(bins=321, encoder_kernels=((5, 2),) * 6 + ((2, 2),))
# 257 bins shrink to one row too early for the published kernels: the sixth is shorter here.
FRCRN_16K_512 = FrcrnConfig(bins=257, encoder_kernels=((5, 2),) * 5 + ((2, 2),) * 2)


class UNet(nn.Module):
    """Complex U-Net over [B, 1, F, T, 2] with frequency recurrence and squeeze-and-excitation.

    ``fsmn_enc0``, the last ``fsmn_dec`` and the last ``se_layer_dec`` take no part in the forward
    pass; they are here because the published files carry them.
    """

    def __init__(self, config: FrcrnConfig) -> None:
        super().__init__()
        self.depth = config.depth
        C = config.channels
        fsmn = (C, config.fsmn_hidden, config.fsmn_lorder)

        def squeeze_excite() -> SqueezeExcite:
            return SqueezeExcite(C, config.se_reduction, config.pooling)

        self.fsmn = TimeFsmn(*fsmn)
        for i, kernel in enumerate(config.encoder_kernels):
            self.add_module(f"fsmn_enc{i}", FrequencyFsmn(*fsmn))
            self.add_module(f"encoder{i}", Encoder(1 if i == 0 else C, C, kernel))
            self.add_module(f"se_layer_enc{i}", squeeze_excite())
        last = self.depth - 1
        for i, kernel in enumerate(config.decoder_kernels):
            self.add_module(
                f"decoder{i}", Decoder(C if i == 0 else 2 * C, 1 if i == last else C, kernel)
            )
            self.add_module(f"fsmn_dec{i}", FrequencyFsmn(*fsmn))
            if i < last:
                self.add_module(f"se_layer_dec{i}", squeeze_excite())
        self.linear = ComplexConv2d(1, 1, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        layer = self.get_submodule
        skips = []
        for i in range(self.depth):
            if i > 0:
                x = layer(f"fsmn_enc{i}")(x)
            x = layer(f"encoder{i}")(x)  # [B, C, rows[i + 1], T + i + 1, 2]
            skips.append(layer(f"se_layer_enc{i}")(x))

        x = self.fsmn(x)
        last = self.depth - 1
        for i in range(last):
            x = layer(f"decoder{i}")(x)
            x = layer(f"fsmn_dec{i}")(x)
            if i < last - 1:
                x = layer(f"se_layer_dec{i}")(x)
            x = torch.cat((x, skips[last - 1 - i]), dim=1)
        mask: Tensor = self.linear(layer(f"decoder{last}")(x))
        return mask


class FRCRN(nn.Module):
    """Two U-Nets in a row whose outputs, each through tanh, add up to a complex mask.

    Takes and gives spectra [B, 2, F, T] (real, imaginary), float, T >= 1 frames.
    """

    def __init__(self, config: FrcrnConfig = FRCRN_16K) -> None:
        super().__init__()
        self.config = config
        self.pooling_name = str(config.pooling)
        self.unet = UNet(config)
        self.unet2 = UNet(config)

    def set_pooling(self, pooling: Pooling, name: str) -> None:
        """Let squeeze-and-excitation average over something else; `name` is how users call it."""
        self.config = replace(self.config, pooling=pooling)
        self.pooling_name = name
        for module in self.modules():
            if isinstance(module, SqueezeExcite):
                module.pooling = pooling

    def mask(self, spec: Tensor) -> Tensor:
        """The complex mask [B, 2, F, T] of a spectrum of the same shape."""
        u1: Tensor = self.unet(spec.permute(0, 2, 3, 1).unsqueeze(1))  # [B, 1, F, T, 2]
        u2: Tensor = self.unet2(u1)
        return (u1.tanh() + u2.tanh()).squeeze(1).permute(0, 3, 1, 2)

    def forward(self, spec: Tensor) -> Tensor:
        """The enhanced spectrum [B, 2, F, T]: mask times spectrum."""
        return apply_mask(self.mask(spec), spec)


def apply_mask(mask: Tensor, spec: Tensor) -> Tensor:
    """The complex product of two [B, 2, F, T]."""
    mask_re, mask_im = mask.unbind(1)
    re, im = spec.unbind(1)
    return torch.stack((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)
