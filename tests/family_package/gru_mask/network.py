"""The network as it is trained, and its deployable form."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.module_passes import fold_batch_norm

BINS = 257
PAST = 2  # frames that the convolution over time sees beside its own


class GruMask(nn.Module):
    """spec [B, 2, 257, T] to the same shape: each bin times a gain from 0 to `bound`."""

    def __init__(self, width: int, bound: int) -> None:
        super().__init__()
        self.bound = bound
        self.narrow = nn.Conv1d(BINS, width, 1)
        self.time = nn.Conv1d(width, width, PAST + 1)
        self.norm = nn.BatchNorm1d(width)
        self.memory = nn.GRU(width, width, batch_first=True)
        self.widen = nn.Conv1d(width, BINS, 1)

    def forward(self, spec: Tensor) -> Tensor:
        x = self.narrow(log_magnitude(spec))  # [B, width, T]
        x = torch.relu(self.norm(self.time(F.pad(x, (PAST, 0)))))
        y, _ = self.memory(x.transpose(1, 2))  # [B, T, width]
        return self.masked(spec, y)

    def masked(self, spec: Tensor, y: Tensor) -> Tensor:
        gains = self.bound * torch.sigmoid(self.widen(y.transpose(1, 2)))  # [B, 257, T]
        return spec * gains.unsqueeze(1)


def log_magnitude(spec: Tensor) -> Tensor:
    """The log power [B, 257, T]."""
    return torch.log(spec.square().sum(dim=1) + 1e-6)


@torch.no_grad()
def fold(network: GruMask) -> GruMask:
    """The same network with its batch norm inside the convolution before it."""
    folded = copy.deepcopy(network).eval()
    weight, bias = fold_batch_norm(folded.time.weight, folded.time.bias, folded.norm)
    folded.time.weight, folded.time.bias = nn.Parameter(weight), nn.Parameter(bias)
    folded.norm = nn.Identity()
    return folded
