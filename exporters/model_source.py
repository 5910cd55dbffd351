"""The network and weights that a command is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from frcrn_export.exporters.family import Setting


@dataclass(frozen=True)
class ModelSource:
    """The network and weights named by the options of a command."""

    model: str | None
    checkpoint: Path | None
    seed: int | None
    state_dict: str | None
    options: Mapping[str, Setting]

    @property
    def is_given(self) -> bool:
        """Whether any option was given."""
        return (self.model, self.checkpoint, self.seed) != (None, None, None)
