"""From the user's options to the training task."""

from pathlib import Path

from frcrn_export.exporters.family import ModelSpec, Settings
from frcrn_export.exporters.loading import weights_at_hand
from frcrn_export.exporters.recognition import Checkpoint, load_checkpoint
from frcrn_export.exporters.registry import family_of, find_model
from frcrn_export.exporters.resolved_settings import require_options
from frcrn_export.exporters.training_task import SAMPLE_RATE, Task
from frcrn_export.runtime.errors import CheckpointError, UserError

DEFAULT_CHECKPOINT = "default"


def make_task(model: str, checkpoint: str | None, options: Settings) -> Task:
    """The task of a command; `checkpoint` is a path or "default".

    Raises UserError for conflicting options, and CheckpointError for weights of another model.
    """
    spec = find_model(model)
    family = family_of(spec)
    if spec.sample_rate != SAMPLE_RATE:
        raise UserError(f"{spec.name} is of {spec.sample_rate} Hz; train works at {SAMPLE_RATE} Hz")
    start = _checkpoint(spec, checkpoint) if checkpoint else None
    require_options(spec, (*family.options, *family.training_options), options)
    return family.training_task(spec, options, start)


def _checkpoint(spec: ModelSpec, named: str) -> Checkpoint:
    path = Path(named)
    if named == DEFAULT_CHECKPOINT:
        at_hand = weights_at_hand(spec.name)
        if at_hand is None:
            raise UserError(f"no weights of {spec.name} are here; get some: {spec.weights}")
        path = at_hand
    checkpoint = load_checkpoint(path)
    if checkpoint.model not in (None, spec.name):
        held = find_model(str(checkpoint.model))
        trains = family_of(held).trainable
        way = f"frcrn-export train {held.name}" if trains else "give another --checkpoint"
        raise CheckpointError(f"{path}: these are {held.described}, not {spec.name}: {way}")
    return checkpoint
