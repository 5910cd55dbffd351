"""FRCRN reference network, after Zhao et al., "FRCRN: Boosting Feature Representation using
Frequency Recurrence for Monaural Speech Enhancement", ICASSP 2022.

Written for clarity, with the tensor names of the published weights (ModelScope
``damo/speech_frcrn_ans_cirm_16k``, ClearerVoice-Studio ``FRCRN_SE_16K``). The STFT is outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAKY_SLOPE = 0.01  # negative slope of every LeakyReLU


def apply_complex(
    f_re: Callable[[Tensor], Tensor], f_im: Callable[[Tensor], Tensor], x: Tensor
) -> Tensor:
    """Apply the complex layer (f_re, f_im) to x [..., 2]."""
    re, im = x.unbind(-1)
    return torch.stack((f_re(re) - f_im(im), f_re(im) + f_im(re)), dim=-1)


class ComplexConv2d(nn.Module):
    """Complex convolution: [B, C, F, T, 2] to [B, C', F', T', 2]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.conv_re = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)
        self.conv_im = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return apply_complex(self.conv_re, self.conv_im, x)


class ComplexConvTranspose2d(nn.Module):
    """Complex transposed convolution: [B, C, F, T, 2] to [B, C', F', T', 2]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> None:
        super().__init__()
        self.tconv_re = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, padding)
        self.tconv_im = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return apply_complex(self.tconv_re, self.tconv_im, x)


class ComplexBatchNorm2d(nn.Module):
    """Batch norms of the real and the imaginary part, independent of each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_re = nn.BatchNorm2d(channels)
        self.bn_im = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        re, im = x.unbind(-1)
        return torch.stack((self.bn_re(re), self.bn_im(im)), dim=-1)


class Encoder(nn.Module):
    """Halves the frequency axis; the time axis grows by one frame: T' = T + 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int]) -> None:
        super().__init__()
        self.conv = ComplexConv2d(in_channels, out_channels, kernel_size, (2, 1), (0, 1))
        self.bn = ComplexBatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.bn(self.conv(x)), LEAKY_SLOPE)


class Decoder(nn.Module):
    """Doubles the frequency axis; the time axis shrinks by one frame: T' = T - 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int]) -> None:
        super().__init__()
        self.transconv = ComplexConvTranspose2d(
            in_channels, out_channels, kernel_size, (2, 1), (0, 1)
        )
        self.bn = ComplexBatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.bn(self.transconv(x)), LEAKY_SLOPE)


class Fsmn(nn.Module):
    """Feedforward sequential memory over axis 1 of [N, L, C]: x + p + D(p), p = P relu(L x + b).

    D weighs the present and the ``lorder - 1`` past positions, channel by channel.
    """

    def __init__(self, channels: int, hidden: int, lorder: int) -> None:
        super().__init__()
        self.lorder = lorder
        self.linear = nn.Linear(channels, hidden)
        self.project = nn.Linear(hidden, channels, bias=False)
        self.conv1 = nn.Conv2d(channels, channels, (lorder, 1), groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        p: Tensor = self.project(F.relu(self.linear(x)))  # [N, L, C]
        p = p.transpose(1, 2).unsqueeze(-1)  # [N, C, L, 1]
        p = p + self.conv1(F.pad(p, (0, 0, self.lorder - 1, 0)))
        return x + p.squeeze(-1).transpose(1, 2)


class ComplexFsmn(nn.Module):
    """``layers`` complex FSMN layers in a row: [N, L, C, 2] to the same shape."""

    def __init__(self, channels: int, hidden: int, lorder: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        for i in range(1, layers + 1):
            self.add_module(f"fsmn_re_L{i}", Fsmn(channels, hidden, lorder))
            self.add_module(f"fsmn_im_L{i}", Fsmn(channels, hidden, lorder))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.layers + 1):
            x = apply_complex(
                self.get_submodule(f"fsmn_re_L{i}"), self.get_submodule(f"fsmn_im_L{i}"), x
            )
        return x


class FrequencyFsmn(ComplexFsmn):
    """One FSMN layer along frequency, the "frequency recurrence": [B, C, F, T, 2]."""

    def __init__(self, channels: int, hidden: int, lorder: int) -> None:
        super().__init__(channels, hidden, lorder, layers=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 2, 1, 4)  # [B, T, F, C, 2]
        return super().forward(x.flatten(0, 1)).reshape(x.shape).permute(0, 3, 2, 1, 4)


class TimeFsmn(ComplexFsmn):
    """Two causal FSMN layers along time, at the bottleneck where F = 1: [B, C, 1, T, 2]."""

    def __init__(self, channels: int, hidden: int, lorder: int) -> None:
        super().__init__(channels, hidden, lorder, layers=2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(2).transpose(1, 2)  # [B, T, C, 2]
        return super().forward(x).transpose(1, 2).unsqueeze(2)


# What squeeze-and-excitation averages over: the whole utterance as published, all frames so far, or
# so many frames up to the present one.
Pooling = Literal["global", "cumulative"] | int


def causal_mean(x: Tensor, frames: int | None = None) -> Tensor:
    """For each t the mean over axis 2 up to t, or of the last ``frames`` up to t: [B, C, T, n]."""
    T = x.shape[2]
    total = x.cumsum(2)
    count = torch.arange(1, T + 1, device=x.device)
    if frames is not None:
        total = total - F.pad(total, (0, 0, frames, 0))[:, :, :T]
        count = count.clamp(max=frames)
    return total / count[:, None]


class SqueezeExcite(nn.Module):
    """Channel gains from the mean over frequency and time; the parts are scaled separately."""

    def __init__(self, channels: int, reduction: int, pooling: Pooling = "global") -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.fc_r = self._gains(channels, reduction)
        self.fc_i = self._gains(channels, reduction)

    @staticmethod
    def _gains(channels: int, reduction: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pooling == "global":
            gains = apply_complex(self.fc_r, self.fc_i, x.mean(dim=(2, 3)))  # [B, C, 2]
            return x * gains[:, :, None, None]
        frames = None if self.pooling == "cumulative" else self.pooling
        means = causal_mean(x.mean(dim=2), frames).transpose(1, 2)  # [B, T, C, 2]
        gains = apply_complex(self.fc_r, self.fc_i, means)
        return x * gains.transpose(1, 2)[:, :, None]  # [B, C, 1, T, 2]


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
        """The kernels with which stride-2 transposed convolutions restore the encoders' rows."""
        rows = self.rows[::-1]
        return tuple((after - 2 * (before - 1), 2) for before, after in pairwise(rows))


FRCRN_16K = FrcrnConfig(bins=321, encoder_kernels=((5, 2),) * 6 + ((2, 2),))
# 257 bins shrink to one row too early for the published kernels: the sixth is shorter here.
FRCRN_16K_512 = FrcrnConfig(bins=257, encoder_kernels=((5, 2),) * 5 + ((2, 2),) * 2)
CONFIGS = {"frcrn-16k": FRCRN_16K, "frcrn-16k-512": FRCRN_16K_512}


class UNet(nn.Module):
    """Complex U-Net over [B, 1, F, T, 2] with frequency recurrence and squeeze-and-excitation.

    ``fsmn_enc0``, the last ``fsmn_dec`` and the last ``se_layer_dec`` take no part in the forward
    pass; they are here because the published files carry them.
    """

    def __init__(self, config: FrcrnConfig) -> None:
        super().__init__()
        self.depth = config.depth
        self.rows = config.rows
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
