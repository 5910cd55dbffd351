"""Comparison of the transform in published files of FRCRN with the one around the core."""

import numpy as np
import torch
from torch import Tensor

from frcrn_export.exporters.family import State
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.bundle.manifest import StftSpec

# Relative to the largest value. The files have float32 values from another library.
_TOLERANCE = 1e-3
# Of the published files, whose transforms are convolutions, and of modules around torch.stft.
TRANSFORM = (
    "stft.weight",
    "stft.window",
    "istft.weight",
    "istft.window",
    "istft.enframe",
)


def check_transform(model: str, stft: StftSpec, evidence: State) -> None:
    """Compare the tensors of `TRANSFORM` in a checkpoint with the transform of the model.

    Raises ValueError that names both sides.
    """
    window = StftAnalysis(stft).weight[0, 0]  # the cosine of frequency 0 is 1
    expected = {
        "stft.weight": StftAnalysis(stft).weight,  # [2F, 1, W]
        "stft.window": window[None, :, None],  # [1, W, 1]
        "istft.weight": StftSynthesis(stft).weight,  # [2F, 1, W]
        "istft.window": window[None, :, None],  # [1, W, 1]
        "istft.enframe": torch.eye(stft.window_length)[:, None],  # [W, 1, W]
    }
    for name in TRANSFORM:
        given, constant = evidence.get(name), expected[name]
        if given is None:
            continue
        if given.shape == (stft.window_length,):  # torch.stft takes a plain window
            given = given[None, :, None]
        if given.shape != constant.shape:
            raise ValueError(
                f"{name} is {list(given.shape)}, a transform of {_size(given)}; {model} has "
                f"window {stft.window_length}, FFT {stft.fft_length}: give another --model"
            )
        largest = float(constant.abs().max())
        if not torch.allclose(given.float(), constant, rtol=0.0, atol=_TOLERANCE * largest):
            raise ValueError(
                f"{name} is a transform with {_window_name(given)}; {model} has the square root "
                "of Hann: these weights were trained for another transform"
            )


def _size(weight: Tensor) -> str:
    if weight.dim() != 3:
        return "another kind"
    return f"window {weight.shape[-1]}, {weight.shape[0] // 2} bins"


def _window_name(weight: Tensor) -> str:
    """The name of the window in a transform, if it is a usual one; its first row is the window."""
    found = (weight[0, 0] if weight.shape[1] == 1 else weight[0, :, 0]).double().numpy()
    phase = 2 * np.pi * np.arange(len(found)) / len(found)
    hann = 0.5 - 0.5 * np.cos(phase)
    windows = {
        "a Hamming window": 0.54 - 0.46 * np.cos(phase),
        "a Hann window": hann,
        "the square root of Hamming": np.sqrt(0.54 - 0.46 * np.cos(phase)),
        "a rectangular window": np.ones(len(found)),
    }
    for name, window in windows.items():
        if np.allclose(found, window, rtol=0.0, atol=1e-2):
            return name
    return "another window"
