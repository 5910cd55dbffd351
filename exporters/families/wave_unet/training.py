"""Training of `wave-unet-16k`."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frcrn_export.exporters.checkpoint import Checkpoint, load_into
from frcrn_export.exporters.families.wave_unet.filterbank import fourier_filters, newest_samples
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.exporters.training.losses import denoising_loss, si_snr_db

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


@dataclass(frozen=True)
class WaveUNetTask:
    """A Task. `config` has to be that of the checkpoint, where there is one."""

    config: WaveUNetConfig = DEFAULT_NETWORK
    checkpoint: Checkpoint | None = None
    spectral_weight: float = 5.0

    model: ClassVar[str] = "wave-unet-16k"

    @property
    def level(self) -> str:
        return self.checkpoint.metadata.get("level", "peak") if self.checkpoint else "peak"

    @property
    def learning_rate(self) -> float:
        return 1.2e-4 if self.checkpoint else 1.2e-3

    def metadata(self) -> dict[str, str]:
        return self.config.to_metadata()

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
