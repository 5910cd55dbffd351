"""The seeded weights of the golden 12-layer Wave-U-Net, and its golden vectors.

`tests/data/wave_unet/golden.npz` holds the batch norm statistics and the shortest case; the whole
set is used where the checkout has `../shared/golden/wave_unet`.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frcrn_export.exporters.families.wave_unet_12x24.network import WaveUNet12x24

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = REPOSITORY / "tests" / "data" / "wave_unet" / "golden.npz"
SHARED = REPOSITORY.parent / "shared" / "golden" / "wave_unet"


def golden_vectors() -> dict[str, NDArray[np.float32]]:
    """`bn/KEY`, `in_4096` and `out_4096`, and every other case where the shared set is present."""
    shared = SHARED / "golden.npz"
    with np.load(shared if shared.exists() else SMALL) as vectors:
        return dict(vectors)


def golden_state() -> dict[str, Tensor]:
    """The state dict of the golden network under its published names, without counters."""
    statistics = golden_vectors()
    state = {}
    for key, template in WaveUNet12x24().state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        if "running_" in key:
            state[key] = torch.from_numpy(statistics[f"bn/{key}"])
        else:
            state[key] = torch.from_numpy(_seeded(key, tuple(template.shape)))
    return state


def golden_network() -> WaveUNet12x24:
    """The golden network in evaluation mode, float32."""
    network = WaveUNet12x24()
    network.load_state_dict(golden_state(), strict=False)
    return network.eval()


def _seeded(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    rng = np.random.default_rng(zlib.crc32(f"A:{key}".encode()))
    z = rng.standard_normal(shape).astype(np.float32)
    is_norm = key.split(".")[-2] == "1" and not key.startswith("out.")
    if is_norm:
        return np.float32(0.1) * z + np.float32(key.endswith("weight"))
    if key.endswith("bias"):
        return np.float32(0.05) * z
    return z * np.float32(1 / np.sqrt(np.prod(shape[1:])))
