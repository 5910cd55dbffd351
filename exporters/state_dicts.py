"""From what a checkpoint file holds to a state dict under the published tensor names."""

import re
from collections.abc import Mapping
from typing import TypeGuard

import torch
from torch import Tensor

from frcrn_export.exporters.families.frcrn.network import FRCRN_16K, FRCRN_16K_512, FrcrnConfig

StateDict = Mapping[str, Tensor]

NESTED_UNDER = ("model", "state_dict", "model_state_dict", "model_state")
MAX_NESTING = 4

# DataParallel, ModelScope's trainer and torch.compile put these before every name.
_WRAPPERS = re.compile(r"^((module|model|_orig_mod)\.)+")
# The published FRCRN lists its layers a second time, in ModuleLists: the same tensors.
_LISTS = {
    "encoders": "encoder",
    "decoders": "decoder",
    "fsmn_enc": "fsmn_enc",
    "fsmn_dec": "fsmn_dec",
    "se_layers_enc": "se_layer_enc",
    "se_layers_dec": "se_layer_dec",
}
_LISTED = re.compile(rf"^(unet2?)\.({'|'.join(_LISTS)})\.(\d+)\.")
# Fixed by the transform, or a counter that inference does not read.
_DROPPED = re.compile(r"^(stft|istft)\.|(^|\.)num_batches_tracked$")

_FRCRN_MODELS: tuple[tuple[str, FrcrnConfig], ...] = (
    ("frcrn-16k", FRCRN_16K),
    ("frcrn-16k-512", FRCRN_16K_512),
)
# How the weights of each model are called in an error.
DESCRIPTIONS = {
    "frcrn-16k": f"{FRCRN_16K.bins}-bin weights",
    "frcrn-16k-512": f"{FRCRN_16K_512.bins}-bin weights",
    "wave-unet-16k": "weights of a strided Wave-U-Net",
    "wave-unet-12x24": "weights of a Wave-U-Net with interpolation",
}


def find_state_dict(tree: object) -> StateDict:
    """The state dict in `tree`: itself, under one of `NESTED_UNDER`, or the only one there is.

    Raises ValueError where there is none, or several and no usual name among them.
    """
    for _ in range(MAX_NESTING):
        if is_state_dict(tree):
            return tree
        if not isinstance(tree, Mapping):
            break
        usual = [tree[name] for name in NESTED_UNDER if isinstance(tree.get(name), Mapping)]
        found = {str(name): value for name, value in tree.items() if is_state_dict(value)}
        named = [value for value in usual if is_state_dict(value)] or usual
        if named:
            tree = named[0]
        elif len(found) == 1:
            return next(iter(found.values()))
        elif found:
            names = ", ".join(sorted(found)[:5])
            raise ValueError(f"holds several state dicts ({names}): save one of them alone")
        else:
            break
    raise ValueError(
        "holds no state dict: save one with torch.save(model.state_dict(), 'weights.pth')"
    )


def is_state_dict(value: object) -> TypeGuard[StateDict]:
    """Whether every entry is a tensor with a name, and there is one."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def canonical_state_dict(state: StateDict) -> dict[str, Tensor]:
    """The tensors under their published names, each once; `stft.*` and counters are still there.

    Raises ValueError where two names of one tensor hold different values.
    """
    canonical: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in state.items():
        key = canonical_name(name)
        if key in canonical and not torch.equal(canonical[key], tensor):
            raise ValueError(
                f"{origin[key]} and {name} are two names of one tensor and differ: "
                "save the state dict again from one network"
            )
        canonical[key], origin[key] = tensor, name
    return canonical


def canonical_name(name: str) -> str:
    """The published name: `module.unet.se_layers_enc.3.x` -> `unet.se_layer_enc3.x`."""
    return _LISTED.sub(lambda m: f"{m[1]}.{_LISTS[m[2]]}{m[3]}.", _WRAPPERS.sub("", name))


def is_dropped(name: str) -> bool:
    """Whether a tensor is no weight: a fixed transform or a batch counter."""
    return _DROPPED.search(name) is not None


def recognise(state: StateDict) -> str | None:
    """The name of the model these weights belong to, told by names and shapes; None if unknown.

    `state` has canonical names. `stft.weight` [2 * bins, 1, window], where present, tells the
    variant of FRCRN; otherwise its encoders' kernels do.
    """
    if "unet.encoder0.conv.conv_re.weight" in state:
        return _recognise_frcrn(state)
    if "encoder.0.main.0.weight" in state and "middle.0.weight" in state:
        return "wave-unet-12x24"
    if "encoder.0.0.weight" in state and "out.weight" in state:
        return "wave-unet-16k"
    return None


def _recognise_frcrn(state: StateDict) -> str | None:
    stft = state.get("stft.weight")
    encoders = [state.get(f"unet.encoder{i}.conv.conv_re.weight") for i in range(FRCRN_16K.depth)]
    kernels = tuple(tuple(w.shape[2:]) for w in encoders if w is not None)
    for name, config in _FRCRN_MODELS:
        if stft is not None and stft.ndim == 3:
            if stft.shape[0] == 2 * config.bins:
                return name
        elif kernels == config.encoder_kernels:
            return name
    return None
