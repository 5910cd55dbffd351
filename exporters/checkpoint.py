"""Checkpoints in every published form, loaded into a reference network under a strict match."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from frcrn_export.exporters.checkpoint_files import read_checkpoint_file
from frcrn_export.exporters.state_dicts import (
    DESCRIPTIONS,
    StateDict,
    canonical_state_dict,
    find_state_dict,
    is_dropped,
    recognise,
)
from frcrn_export.runtime.bundle.reader import sha256_of
from frcrn_export.runtime.errors import CheckpointError

__all__ = ["Checkpoint", "load_checkpoint", "load_into", "recognise", "require_model"]

NAMES_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """Weights of one network.

    state: the weights under their published names, each once, without `stft.*` and counters.
    metadata: of a safetensors file, else {}.
    model: the model that `recognise` takes the weights for, or None.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    path: Path
    sha256: str
    model: str | None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint: raw or nested state dict, torch or safetensors file, any usual prefix.

    Raises CheckpointError, in one line, for a file that is missing, damaged, no checkpoint, holds
    code, names one tensor twice with different values, or whose weights are not finite numbers.
    """
    try:
        tree, metadata = read_checkpoint_file(path)
        found = find_state_dict(tree)
        _require_finite({name: found[name] for name in found if not is_dropped(name)})
        named = canonical_state_dict(found)
        # Copies, since the tensors of a mapped file change with it.
        state = {name: named[name].detach().clone() for name in named if not is_dropped(name)}
        if not any(tensor.numel() for tensor in state.values()):
            raise ValueError("holds no weights: save a trained network's state dict")
        return Checkpoint(state, metadata, path, sha256_of(path), recognise(named))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def require_model(checkpoint: Checkpoint, model: str) -> None:
    """Raises CheckpointError where the weights are those of another known model."""
    if checkpoint.model not in (None, model):
        raise CheckpointError(
            f"{checkpoint.path}: these are {DESCRIPTIONS[checkpoint.model]}: "
            f"use --model {checkpoint.model}"
        )


def load_into(network: nn.Module, checkpoint: Checkpoint, model: str) -> None:
    """Copy the weights into `network`, which must have exactly these tensors.

    Raises CheckpointError that names the right model, or else the tensors that are missing,
    unexpected or of another shape; the network is unchanged then.
    """
    require_model(checkpoint, model)
    wanted = {k: v for k, v in network.state_dict().items() if not is_dropped(k)}
    given = checkpoint.state
    reshaped = (
        f"{key} {list(given[key].shape)} instead of {list(wanted[key].shape)}"
        for key in sorted(wanted.keys() & given.keys())
        if given[key].shape != wanted[key].shape
    )
    faults = [
        *_listed("missing", sorted(wanted.keys() - given.keys())),
        *_listed("unexpected", sorted(given.keys() - wanted.keys())),
        *_listed("of another shape", reshaped),
    ]
    if faults:
        raise CheckpointError(
            f"{checkpoint.path}: these are not the weights of {model}: {'; '.join(faults)}; "
            "give another --checkpoint or --model"
        )
    network.load_state_dict(given, strict=False)  # not strict: the counters may be absent


def _require_finite(state: StateDict) -> None:
    for name, tensor in state.items():
        if tensor.layout is not torch.strided or not tensor.is_floating_point():
            raise ValueError(
                f"{name} is {tensor.dtype} {tensor.layout}, not plain floating-point numbers: "
                "save the float32 weights"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinite values: take an earlier checkpoint")


def _listed(what: str, names: Iterable[str]) -> list[str]:
    """["3 missing (a, b, c)"], shortened after `NAMES_SHOWN`, or [] for no names."""
    names = list(names)
    if not names:
        return []
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return [f"{len(names)} {what} ({', '.join(names[:NAMES_SHOWN])}{more})"]
