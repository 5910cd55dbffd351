"""Reproducible weights: every tensor is drawn from a generator seeded with its own name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data"


def golden_state_dict(
    shapes: Mapping[str, tuple[int, ...]],
    bn_stats: Mapping[str, np.ndarray],
    is_norm: Callable[[str], bool],
) -> dict[str, torch.Tensor]:
    """State dict for tensors ``name -> shape``, running statistics taken from ``bn_stats``."""
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif key.endswith(("running_mean", "running_var")):
            state[key] = torch.from_numpy(np.asarray(bn_stats[key]))
        else:
            seed = zlib.crc32(("A:" + key).encode())
            z = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
            state[key] = torch.from_numpy(_scaled(key, z, is_norm(key)))
    return state


def _scaled(key: str, z: np.ndarray, norm: bool) -> np.ndarray:
    if norm and key.endswith("weight"):
        return 1 + np.float32(0.1) * z
    if key.endswith("bias"):
        return np.float32(0.1 if norm else 0.05) * z
    fan = math.prod(z.shape[1:])
    if "tconv" in key:
        fan = z.shape[0] * math.prod(z.shape[2:]) // 2
    return z * np.float32(1 / math.sqrt(fan))


def frcrn_golden_state() -> dict[str, torch.Tensor]:
    """Weights of the golden vectors of the published FRCRN (321 bins)."""
    from frcrn_export.exporters.families.frcrn.network import FRCRN

    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in FRCRN().state_dict().items()}
    with np.load(DATA / "frcrn" / "bn_stats.npz") as bn_stats:
        return golden_state_dict(shapes, bn_stats, lambda key: ".bn." in key)
