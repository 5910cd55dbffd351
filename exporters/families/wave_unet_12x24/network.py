"""`wave-unet-12x24`: the published Wave-U-Net that samples down and up by two in each block.

Tensor names follow the published checkpoints (`encoder.N.main.*`, `middle.*`, `decoder.N.main.*`,
`out.0.*`); its usual size is 12 layers of 24, 48, ..., 288 channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE = 16_000  # Hz
# The receptive field exceeds the segment, so this length is part of what was trained.

ENCODER_KERNEL = 15
DECODER_KERNEL = 5
NEGATIVE_SLOPE = 0.1


@dataclass(frozen=True)
class WaveUNet12x24Config:
    """`layers` blocks on each side; encoder block i has `channels_interval * (i + 1)` channels."""

    layers: int = 12
    channels_interval: int = 24

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each encoder block."""
        return tuple(self.channels_interval * (i + 1) for i in range(self.layers))

    @property
    def length_multiple(self) -> int:
        """Input lengths are multiples of this many samples."""
        return int(2**self.layers)


def config_from_state_dict(state: Mapping[str, Tensor]) -> WaveUNet12x24Config:
    """Read the number of layers and their width off the tensor names and shapes.

    Raises ValueError where the state dict does not begin with this network's first tensor.
    """
    first = state.get("encoder.0.main.0.weight")
    if first is None or first.ndim != 3:
        raise ValueError(
            "not wave-unet-12x24 weights: no encoder.0.main.0.weight [channels, 1, 15] among "
            f"the {len(state)} tensors"
        )
    layers = next(i for i in count() if f"encoder.{i}.main.0.weight" not in state)
    return WaveUNet12x24Config(layers=layers, channels_interval=first.shape[0])


class ConvBlock(nn.Module):
    """Conv1d of the same length, BatchNorm1d, LeakyReLU: [B, C_in, N] -> [B, C_out, N]."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.main = conv_norm_act(in_channels, out_channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)  # type: ignore[no-any-return]


def conv_norm_act(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """The layers of one block, at the indices the published tensor names have."""
    return nn.Sequential(
        nn.Conv1d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        nn.BatchNorm1d(out_channels),
        nn.LeakyReLU(NEGATIVE_SLOPE),
    )


class WaveUNet12x24(nn.Module):
    """Waveform to waveform: [B, 1, N] -> [B, 1, N], N a multiple of `config.length_multiple`."""

    def __init__(self, config: WaveUNet12x24Config | None = None) -> None:
        super().__init__()
        self.config = config or WaveUNet12x24Config()
        channels = self.config.channels
        self.encoder = nn.ModuleList(
            ConvBlock(c_in, c_out, ENCODER_KERNEL)
            for c_in, c_out in zip((1, *channels), channels, strict=False)
        )
        self.middle = conv_norm_act(channels[-1], channels[-1], ENCODER_KERNEL)
        self.decoder = nn.ModuleList(
            ConvBlock(c_up + c_skip, c_skip, DECODER_KERNEL)
            for c_up, c_skip in zip((channels[-1], *channels[::-1]), channels[::-1], strict=False)
        )
        self.out = nn.Sequential(nn.Conv1d(1 + channels[0], 1, 1), nn.Tanh())

    def forward(self, wave: Tensor) -> Tensor:
        """Raises ValueError for a length that does not halve `layers` times."""
        multiple = self.config.length_multiple
        if wave.shape[-1] == 0 or wave.shape[-1] % multiple:
            raise ValueError(
                f"{wave.shape[-1]} samples is not a multiple of {multiple}: pad the end with zeros"
            )
        x = wave  # [B, 1, N]
        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)  # [B, 24 (i + 1), N / 2^i]
            x = x[:, :, ::2]
        x = self.middle(x)  # [B, 288, N / 4096]
        for decode in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode="linear", align_corners=True)
            x = decode(torch.cat([x, skips.pop()], dim=1))
        return self.out(torch.cat([x, wave], dim=1))  # type: ignore[no-any-return]
