"""The network that a bundle was made from, where its weights are at hand."""

from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.exporters.verify import require_same_checkpoint, why_not_live
from frcrn_export.runtime.bundle.manifest import Manifest
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel


def load_live(manifest: Manifest, checkpoint: Path | None, reason: str) -> "LoadedModel":
    """The network with its weights, which `checkpoint` holds if the bundle does not say where.

    Raises UserError for another checkpoint, and where they are not here: `reason`, which says why
    they are needed, begins its message.
    """
    if checkpoint is not None:
        require_same_checkpoint(manifest, checkpoint)
    if why := why_not_live(manifest, checkpoint):
        raise UserError(f"{reason}, and {why}")
    from frcrn_export.exporters.commands.parts import quieten_torch
    from frcrn_export.exporters.loading import load_bundled

    quieten_torch()
    return load_bundled(manifest, checkpoint)
