"""Training of `wave-unet-16k`."""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.wave_unet.config import config_of
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.exporters.family import Family, ModelSpec, Settings
from frcrn_export.exporters.recognition import Checkpoint, load_into
from frcrn_export.exporters.resolved_settings import settings_of_checkpoint
from frcrn_export.exporters.training.losses import denoising_loss, si_snr_db
from frcrn_export.runtime.errors import UserError

LEFT = 0.3  # of the window at its end: without a future frame, the newest sample has only this one
REGULARISATION = 0.01  # of the least squares; the filters have norm 1


def fourier_filters(channels: int, length: int, fall: int) -> Tensor:
    """Sines and cosines under a window, [channels, length] float32, each of norm 1.

    The first half of the channels are cosines at evenly spaced frequencies, the others the sines at
    the same. The window rises over what is past and falls within the last `fall` samples, so that
    what has just been heard counts.
    """
    pairs = channels // 2
    time = torch.arange(length, dtype=torch.float64)
    rise = length - fall
    rising = torch.sin(math.pi / 2 * (time[:rise] + 0.5) / rise)
    falling = LEFT + (1 - LEFT) * torch.cos(math.pi / 2 * (time[:fall] + 0.5) / fall)
    window = torch.cat([rising, falling])
    frequencies = (torch.arange(pairs, dtype=torch.float64) + 0.5) / (2 * pairs)  # of the rate
    phase = 2 * math.pi * frequencies[:, None] * time  # [pairs, length]
    filters = torch.cat([torch.cos(phase), torch.sin(phase)]) * window
    unit: Tensor = filters / filters.norm(dim=1, keepdim=True)
    return unit.float()


def newest_samples(filters: Tensor, samples: int) -> Tensor:
    """What makes the last `samples` of a window again, [channels, samples] float32.

    The least-squares answer for `filters` [channels, length], for white noise at their input.
    """
    wide = filters.double()
    gram = wide @ wide.T + REGULARISATION * torch.eye(len(wide), dtype=torch.float64)
    inverse: Tensor = torch.linalg.solve(gram, wide[:, -samples:])
    return inverse.float()


DEFAULT_NETWORK = WaveUNetConfig(
    channels=(128, 192),
    strides=(1, 2),
    kernel_size=3,
    context_blocks=12,
    bands=384,
    band_length=384,
    band_stride=64,
)
WAVEFORM_NETWORK = WaveUNetConfig(
    channels=(32, 64, 128, 144), strides=(4, 4, 4, 2), context_blocks=6, residual=True
)


# What options of `train` are called in a configuration.
_CONFIG_NAMES = {"kernel": "kernel_size", "context": "context_blocks"}


def wave_unet_task(
    family: Family, spec: ModelSpec, options: Settings, checkpoint: Checkpoint | None
) -> "WaveUNetTask":
    """The task of a command: from scratch as the options say, or of a checkpoint's shape.

    Raises UserError for options that do not go together.
    """
    level = str(options.get("level", "peak"))
    if checkpoint is not None:
        shape = [option for option in family.training_options if option.name in options]
        if shape:
            raise UserError(f"{shape[0].flag}: the shape is that of the checkpoint; leave out one")
        settings, _ = settings_of_checkpoint(family, spec, checkpoint, options)
        return WaveUNetTask(config_of(settings), checkpoint, level=str(settings["level"]))
    start = WAVEFORM_NETWORK if options.get("bands") == 0 else DEFAULT_NETWORK
    given: dict[str, Any] = {
        _CONFIG_NAMES.get(name, name): value for name, value in options.items() if name != "level"
    }
    try:
        return WaveUNetTask(replace(start, **given), level=level)
    except ValueError as error:
        raise UserError(
            f"no such network: {error}; change --bands, --channels, --strides or --kernel"
        ) from error


@dataclass(frozen=True)
class WaveUNetTask:
    """A Task. `config` has to be that of the checkpoint, where there is one."""

    config: WaveUNetConfig = DEFAULT_NETWORK
    checkpoint: Checkpoint | None = None
    spectral_weight: float = 5.0
    level: str = "peak"

    model: ClassVar[str] = "wave-unet-16k"

    @property
    def learning_rate(self) -> float:
        return 1.2e-4 if self.checkpoint else 1.2e-3

    def metadata(self) -> dict[str, str]:
        return {**self.config.to_metadata(), "level": self.level}

    def build(self) -> WaveUNet:
        network = WaveUNet(self.config)
        if self.checkpoint is not None:
            load_into(network, self.checkpoint, self.model)
        else:
            let_pass(network)
        return network

    def loss(
        self,
        network: nn.Module,
        noisy: Tensor,
        clean: Tensor,
        autocast: AbstractContextManager[Any],
    ) -> Tensor:
        with autocast:
            estimate = run_padded(network, noisy)
        return denoising_loss(noisy, estimate.float(), clean, self.spectral_weight)

    def improvement_db(self, network: nn.Module, noisy: Tensor, clean: Tensor) -> Tensor:
        return si_snr_db(run_padded(network, noisy), clean) - si_snr_db(noisy, clean)

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """Convolutions in float16, half the file: what is rounded away is 60 dB below."""
        return {
            name: value.half() if value.dim() > 1 else value
            for name, value in network.state_dict().items()
        }


@torch.no_grad()
def let_pass(network: WaveUNet) -> None:
    """Sets weights to start from where the network lets everything pass, or nearly."""
    config = network.config
    if config.residual:
        for parameter in network.out.parameters():
            parameter.zero_()
    if network.analysis is not None and network.synthesis is not None:
        filters = fourier_filters(config.bands, config.band_length, config.band_stride)
        network.analysis.weight.copy_(filters[:, None])
        network.synthesis.weight.copy_(newest_samples(filters, config.band_stride)[:, None])
        assert network.out.bias is not None
        network.out.bias.fill_(2.0)  # before a sigmoid


def run_padded(network: nn.Module, wave: Tensor) -> Tensor:
    """The network on [B, 1, N] of any length: zeros up to the next hop, cut off again."""
    assert isinstance(network, WaveUNet)
    length = wave.shape[2]
    padded = nn.functional.pad(wave, (0, -length % network.hop))
    enhanced: Tensor = network(padded)
    return enhanced[:, :, :length]
