"""What the filters of a masking `wave-unet-16k` begin with."""

import math

import torch
from torch import Tensor

LEFT = 0.3  # of the window at its end: without a future frame, the newest sample has only this one
REGULARISATION = 0.01  # of the least squares; the filters have norm 1


def fourier_filters(channels: int, length: int, fall: int) -> Tensor:
    """Sines and cosines under a window, [channels, length] float32, each of norm 1.

    The first half of the channels are cosines at evenly spaced frequencies, the others the sines at
    the same. The window rises over what is past and falls within the last `fall` samples, so that
    what has just been heard counts.
    """
    pairs = channels // 2
    time = torch.arange(length, dtype=torch.float64)
    rise = length - fall
    rising = torch.sin(math.pi / 2 * (time[:rise] + 0.5) / rise)
    falling = LEFT + (1 - LEFT) * torch.cos(math.pi / 2 * (time[:fall] + 0.5) / fall)
    window = torch.cat([rising, falling])
    frequencies = (torch.arange(pairs, dtype=torch.float64) + 0.5) / (2 * pairs)  # of the rate
    phase = 2 * math.pi * frequencies[:, None] * time  # [pairs, length]
    filters = torch.cat([torch.cos(phase), torch.sin(phase)]) * window
    unit: Tensor = filters / filters.norm(dim=1, keepdim=True)
    return unit.float()


def newest_samples(filters: Tensor, samples: int) -> Tensor:
    """What makes the last `samples` of a window again, [channels, samples] float32.

    The least-squares answer for `filters` [channels, length], for white noise at their input.
    """
    wide = filters.double()
    gram = wide @ wide.T + REGULARISATION * torch.eye(len(wide), dtype=torch.float64)
    inverse: Tensor = torch.linalg.solve(gram, wide[:, -samples:])
    return inverse.float()
