"""Small networks of the masking form of wave-unet-16k."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig

MASKING = WaveUNetConfig(
    channels=(6, 8),
    strides=(1, 2),
    kernel_size=3,
    context_blocks=3,
    context_cycle=2,
    bands=32,
    band_length=40,
    band_stride=16,
)


def write_small_wave(
    path: Path, change: Callable[[WaveUNet], None] = lambda network: None, seed: int = 0
) -> Path:
    """A checkpoint of a small network with random weights, changed by `change`."""
    torch.manual_seed(seed)
    config = replace(MASKING, channels=(16, 16))  # enough for INT8
    network = WaveUNet(config)
    with torch.no_grad():
        network.train()(torch.randn(4, 1, 4_096))  # statistics of the batch norms
        change(network)
    settings = {"sample_rate": 16_000, **asdict(config)}
    torch.save({"model": network.state_dict(), "config": settings}, path)
    return path
