"""Folding of a batch norm into the convolution before it."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


def fold_batch_norm(
    weight: Tensor, bias: Tensor | None, norm: _BatchNorm, out_dim: int = 0
) -> tuple[Tensor, Tensor]:
    """The weight and bias of the one convolution that equals the convolution followed by `norm`.

    norm(conv(x)) = (conv(x) - mean) * gamma / sqrt(var + eps) + beta, with the running statistics
    (what `norm` does in eval mode), worked out in float64 and returned in the dtype of `weight`.

    `out_dim` is the axis of `weight` that counts output channels: 0 for a convolution
    [out, in, ...], 1 for an ungrouped transposed one [in, out, ...]. Raises ValueError for a norm
    without running statistics or with another number of channels.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    if weight.shape[out_dim] != norm.num_features:
        raise ValueError(
            f"a batch norm over {norm.num_features} channels cannot be folded into a weight of "
            f"shape {list(weight.shape)} with output channels on axis {out_dim}"
        )
    with torch.no_grad():
        mean = norm.running_mean.double()  # [C]
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)  # [C]
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        shift = -mean * scale
        if norm.bias is not None:
            shift = shift + norm.bias.double()
        if bias is not None:
            shift = shift + bias.double() * scale
        per_channel = [1] * weight.dim()
        per_channel[out_dim] = -1
        folded = weight.double() * scale.reshape(per_channel)
    return folded.to(weight.dtype), shift.to(weight.dtype)
