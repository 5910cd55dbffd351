"""The five rows of the published 4090D table: the reference pipeline, each with one more change.

Published for FRCRN on an RTX 4090D, PyTorch, one 20 ms frame per call, every frame on its own: the
times are in `gpu_contenders.py`. What a row changes is in `Recipe`; what "as found" means is said
there and nowhere in the publication, so the first rows are our reading of it.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu_runners import Function, without_gradients
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.reference import WaveformNetwork
from frcrn_export.exporters.stft_ops import dft_basis, periodic_window
from frcrn_export.runtime.bundle.manifest import StftSpec


@dataclass(frozen=True)
class Recipe:
    """How the pipeline is run. The defaults are "as found": what a script does that just runs it.

    - `training`: the network is as it is constructed, in training mode. Its batch norms take the
      statistics of the input and update their running ones, so the output is another one: the
      table's SNR shows it.
    - `gradients`: the autograd graph is recorded in every call and thrown away.
    - `rebuild_stft`: the window is computed on the processor, moved to the device and multiplied
      into the kernels of the STFT and the inverse STFT in every call. The kernels without the
      window are kept.
    - `fp16`: the network computes in float16, the STFT still in float32. Not as found.

    All rows but the last copy from and to memory that is not pinned, on one stream.
    """

    training: bool = True
    gradients: bool = True
    rebuild_stft: bool = True
    fp16: bool = False


AS_FOUND = Recipe()
EVAL = Recipe(training=False)
FP16 = Recipe(training=False, fp16=True)
CACHED_STFT = Recipe(training=False, fp16=True, rebuild_stft=False, gradients=False)


def reference_pipeline(model: LoadedModel, recipe: Recipe, device: torch.device) -> Function:
    """Waveforms [B, N] to the same shape; [B, 1, N] for networks without an STFT."""
    network: nn.Module = copy.deepcopy(model.network).train(recipe.training).to(device)
    if recipe.fp16:
        network = _InFp16(network.half())
    if model.spec.stft is None:
        run: Function = network
    else:
        pipeline = WaveformNetwork(network, model.spec.stft).to(device)
        run = (
            _RebuildingStft(pipeline, model.spec.stft, device) if recipe.rebuild_stft else pipeline
        )
    return run if recipe.gradients else without_gradients(run)


class _InFp16(nn.Module):
    """A network in float16 with float32 in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.network(x.half())
        return y.float()


class _RebuildingStft:
    """A pipeline whose STFT gets its windows anew in every call."""

    def __init__(self, pipeline: WaveformNetwork, stft: StftSpec, device: torch.device) -> None:
        self._pipeline = pipeline
        self._window_length = stft.window_length
        self._device = device
        basis = dft_basis(stft)  # [2F, W]
        self._forward = torch.from_numpy(basis).float()[:, None].to(device)  # [2F, 1, W]
        inverse = np.linalg.pinv(basis).T.copy()
        self._inverse = torch.from_numpy(inverse).float()[:, None].to(device)  # [2F, 1, W]

    def __call__(self, wave: Tensor) -> Tensor:
        window = (
            torch.from_numpy(periodic_window("sqrt_hann", self._window_length))
            .float()
            .to(self._device)
        )  # [W]
        self._pipeline.analysis.weight = self._forward * window
        self._pipeline.synthesis.weight = self._inverse * window
        self._pipeline.synthesis.window_product = window.square()[None, None]
        enhanced: Tensor = self._pipeline(wave)
        return enhanced
