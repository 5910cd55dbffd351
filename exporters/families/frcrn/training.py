"""Training of FRCRN: `frcrn-16k` and `frcrn-16k-512`."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn.losses import frcrn_loss, ideal_mask
from frcrn_export.exporters.families.frcrn.network import FRCRN, apply_mask
from frcrn_export.exporters.families.frcrn.pooling import GLOBAL, build_frcrn, parse_pooling
from frcrn_export.exporters.family import Family, ModelSpec, Settings
from frcrn_export.exporters.recognition import Checkpoint, load_into
from frcrn_export.exporters.reference import WaveformNetwork, level_gain
from frcrn_export.exporters.resolved_settings import settings_of_checkpoint
from frcrn_export.exporters.training.losses import si_snr_db
from frcrn_export.runtime.bundle.manifest import Level, StftSpec
from frcrn_export.runtime.errors import UserError


def frcrn_task(
    family: Family, spec: ModelSpec, options: Settings, checkpoint: Checkpoint | None
) -> "FrcrnTask":
    """The training task of a command, with its squeeze-and-excitation or the checkpoint's."""
    if checkpoint is None:
        return FrcrnTask(spec, str(options.get("squeeze_excite", GLOBAL)))
    settings, _ = settings_of_checkpoint(family, spec, checkpoint, options)
    return FrcrnTask(spec, str(settings["squeeze_excite"]), checkpoint)


@dataclass(frozen=True)
class FrcrnTask:
    """The training task of FRCRN. `squeeze_excite` is the mode, see pooling.py.

    Every example is scaled to the level of the published pipeline. The SI-SNR leaves out the first
    and the last samples, which only one frame covers: the inverse STFT divides them by almost
    nothing, and they would outweigh all others.

    Raises UserError for an invalid `squeeze_excite`.
    """

    spec: ModelSpec
    squeeze_excite: str = GLOBAL
    checkpoint: Checkpoint | None = None

    level: ClassVar[Level] = "active_rms"

    def __post_init__(self) -> None:
        try:
            parse_pooling(self.squeeze_excite, self.spec.sample_rate / self.stft.hop_length)
        except ValueError as error:
            raise UserError(str(error)) from error

    @property
    def model(self) -> str:
        return self.spec.name

    @property
    def stft(self) -> StftSpec:
        assert self.spec.stft is not None
        return self.spec.stft

    @property
    def learning_rate(self) -> float:
        """As in the configuration that ClearerVoice-Studio publishes."""
        return 1e-4 if self.checkpoint else 1e-3

    def metadata(self) -> dict[str, str]:
        return {"model": self.model, "squeeze_excite": self.squeeze_excite}

    def build(self) -> WaveformNetwork:
        network = build_frcrn(self.spec, self.squeeze_excite)
        if self.checkpoint is not None:
            load_into(network, self.checkpoint, self.model)
        return WaveformNetwork(network, self.stft)

    def loss(
        self,
        network: nn.Module,
        noisy: Tensor,
        clean: Tensor,
        autocast: AbstractContextManager[Any],
    ) -> Tensor:
        assert isinstance(network, WaveformNetwork)
        assert isinstance(network.network, FRCRN)
        noisy, clean = _levelled(noisy, clean)
        spec, clean_spec = network.analysis(noisy), network.analysis(clean)  # [B, 2, F, T]
        with autocast:
            mask = network.network.mask(spec)
        mask = mask.float()
        estimate = network.synthesis(apply_mask(mask, spec))
        estimate, clean = self._inside(estimate), self._inside(clean)
        return frcrn_loss(mask, ideal_mask(spec, clean_spec), estimate, clean)

    def improvement_db(self, network: nn.Module, noisy: Tensor, clean: Tensor) -> Tensor:
        noisy, clean = _levelled(noisy, clean)
        estimate, noisy, clean = (self._inside(x) for x in (network(noisy), noisy, clean))
        return si_snr_db(estimate, clean) - si_snr_db(noisy, clean)

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        assert isinstance(network, WaveformNetwork)
        return network.network.state_dict()

    def _inside(self, wave: Tensor) -> Tensor:
        """The samples [B, 1, n] of a wave [B, N] that all frames cover that ever will."""
        window, hop = self.stft.window_length, self.stft.hop_length
        covered = window + (wave.shape[1] - window) // hop * hop
        return wave[:, None, window - hop : covered - (window - hop)]


def _levelled(noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Both [B, 1, N] as [B, N], times what brings the noisy one to the level of the pipeline."""
    gains = [level_gain(wave, FrcrnTask.level, eps=1e-6) for wave in noisy[:, 0]]
    gain = torch.tensor(gains, dtype=noisy.dtype, device=noisy.device)[:, None]
    return noisy[:, 0] * gain, clean[:, 0] * gain
