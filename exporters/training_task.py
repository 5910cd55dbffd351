"""The interface between the training loop and a family of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from frcrn_export.exporters.checkpoint_file import Checkpoint

SAMPLE_RATE = 16_000  # Hz, of all signals of a training run


class Task(Protocol):
    """A network to train, and its loss. Signals are [B, 1, N] float32 at `SAMPLE_RATE`."""

    @property
    def model(self) -> str:
        """The name in the registry of models."""

    @property
    def level(self) -> str:
        """The level rule of the pipeline around the network, see `Processing`."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The weights to start from, with frozen batch-norm statistics; None: from scratch."""

    @property
    def learning_rate(self) -> float:
        """The recommended peak learning rate."""

    def metadata(self) -> dict[str, str]:
        """The settings that distinguish this network, for its file and for resuming."""

    def build(self) -> nn.Module:
        """The initial network; random weights come from torch's global generator.

        Raises CheckpointError for weights of another network.
        """

    def loss(
        self,
        network: nn.Module,
        noisy: Tensor,
        clean: Tensor,
        autocast: AbstractContextManager[Any],
    ) -> Tensor:
        """The scalar to minimise; the network alone is computed under `autocast`."""

    def improvement_db(self, network: nn.Module, noisy: Tensor, clean: Tensor) -> Tensor:
        """The SI-SNR improvement in dB of each example [B]."""

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """The tensors under their published names, as every --checkpoint option reads them."""
