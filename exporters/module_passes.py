"""Passes over PyTorch modules before export: folding batch norms, computing in float16."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
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


def compute_in_half(halves: Iterable[nn.Module], keep: Iterable[nn.Module] = ()) -> None:
    """Let modules compute in float16: weights converted, inputs cast, outputs cast to float32.

    `keep` are modules inside them that stay float32, with casts at their borders.
    """
    kept = list(keep)
    for module in halves:
        module.half()
        _cast_at_border(module, torch.float16, torch.float32)
    for module in kept:
        module.float()
        _cast_at_border(module, torch.float32, torch.float16)


def _cast_at_border(module: nn.Module, inside: torch.dtype, outside: torch.dtype) -> None:
    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.to(inside) for x in inputs)

    def after(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output.to(outside)

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)
