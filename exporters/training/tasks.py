"""From what the user asks for to the task to train."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from frcrn_export.exporters.checkpoint import Checkpoint, load_checkpoint
from frcrn_export.exporters.families.frcrn.pooling import GLOBAL
from frcrn_export.exporters.families.frcrn.training import FrcrnTask
from frcrn_export.exporters.families.wave_unet import family as wave_unet
from frcrn_export.exporters.families.wave_unet.training import (
    DEFAULT_NETWORK,
    WAVEFORM_NETWORK,
    WaveUNetTask,
)
from frcrn_export.exporters.loading import weights_at_hand
from frcrn_export.exporters.registry import ModelSpec, find_model
from frcrn_export.exporters.state_dicts import DESCRIPTIONS
from frcrn_export.exporters.training.commands.options import TRAINABLE, TrainOptions
from frcrn_export.exporters.training.task import Task
from frcrn_export.runtime.errors import CheckpointError, UserError

DEFAULT_CHECKPOINT = "default"
# The options that shape a wave-unet-16k, and what its configuration calls them.
_SHAPE = {
    "bands": "bands",
    "channels": "channels",
    "strides": "strides",
    "kernel": "kernel_size",
    "context": "context_blocks",
    "causal": "causal",
}


def make_task(options: TrainOptions) -> Task:
    """The task of a command. Raises UserError for options that do not go together, and
    CheckpointError for weights that are not those of the model."""
    spec = find_model(options.model)
    checkpoint = _checkpoint(spec, options.checkpoint) if options.checkpoint else None
    shape = {option: value for option in _SHAPE if (value := getattr(options, option)) is not None}
    given = [f"--{option}" for option in shape]
    if spec.family == "frcrn":
        if given:
            raise UserError(f"{given[0]} is for wave-unet-16k; {spec.name} has one shape")
        trained_with = checkpoint.metadata.get("squeeze_excite", GLOBAL) if checkpoint else GLOBAL
        return FrcrnTask(spec, options.squeeze_excite or trained_with, checkpoint)
    if options.squeeze_excite is not None:
        raise UserError(f"{spec.name} has no squeeze-and-excitation; leave out --squeeze-excite")
    if checkpoint is not None:
        if given:
            raise UserError(f"{given[0]}: the shape is that of the checkpoint; leave out one")
        return WaveUNetTask(wave_unet.build(spec, checkpoint).config, checkpoint)
    return _wave_unet(shape)


def _wave_unet(shape: dict[str, Any]) -> WaveUNetTask:
    start = WAVEFORM_NETWORK if shape.get("bands") == 0 else DEFAULT_NETWORK
    try:
        return WaveUNetTask(replace(start, **{_SHAPE[option]: shape[option] for option in shape}))
    except ValueError as error:
        raise UserError(
            f"no such network: {error}; change --bands, --channels, --strides or --kernel"
        ) from error


def _checkpoint(spec: ModelSpec, named: str) -> Checkpoint:
    path = Path(named)
    if named == DEFAULT_CHECKPOINT:
        at_hand = weights_at_hand(spec.name)
        if at_hand is None:
            raise UserError(f"no weights of {spec.name} are here; get some: {spec.weights}")
        path = at_hand
    checkpoint = load_checkpoint(path)
    if checkpoint.model not in (None, spec.name):
        held = checkpoint.model
        way = f"frcrn-export train {held}" if held in TRAINABLE else "give another --checkpoint"
        raise CheckpointError(f"{path}: these are {DESCRIPTIONS[held]}, not {spec.name}: {way}")
    return checkpoint
