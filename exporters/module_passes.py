"""Passes over PyTorch modules before export: folding batch norms, computing in float16."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

from frcrn_export.exporters.recurrent import recurrent_layers


def fold_batch_norm(
    weight: Tensor, bias: Tensor | None, norm: _BatchNorm, out_dim: int = 0
) -> tuple[Tensor, Tensor]:
    """The weight and bias of a convolution that equals a convolution followed by `norm`.

    norm(conv(x)) = (conv(x) - mean) * gamma / sqrt(var + eps) + beta, with the running statistics
    (as `norm` in eval mode), computed in float64 and returned in the dtype of `weight`.

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


def compute_in_fp16(
    modules: Iterable[nn.Module], keep: Iterable[nn.Module] = (), first_only: bool = False
) -> None:
    """Convert modules to float16: weights converted, inputs cast, outputs cast to float32.

    With `first_only` only the first input is cast: the states of a stream stay unchanged.

    Submodules in `keep` stay float32, with casts at their borders. So do recurrent layers, whose
    states are not cast either: float16 loses the small increments of slow gates (a GRU of 256
    measured 18 dB in float16, and 73 dB in float32 with float16 around it).
    """
    modules = [module for module in modules if not isinstance(module, nn.RNNBase)]
    recurrent = [layer for module in modules for layer in recurrent_layers(module).values()]
    kept = [module for module in keep if module not in recurrent]
    exact = [_copied_state(module) for module in (*kept, *recurrent)]
    for module in modules:
        module.half()
        _cast_at_border(module, torch.float16, torch.float32, first_only=first_only)
    for module, state in zip((*kept, *recurrent), exact, strict=True):
        module.float()
        module.load_state_dict(state)
    for module in kept:
        _cast_at_border(module, torch.float32, torch.float16)
    for module in recurrent:
        module.register_forward_pre_hook(_widened, with_kwargs=True)
        module.register_forward_hook(_narrowed)


def _copied_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _cast_at_border(
    module: nn.Module, inside: torch.dtype, outside: torch.dtype, first_only: bool = False
) -> None:
    """With `first_only` only the first input is cast."""

    def cast(values: Any, dtype: torch.dtype) -> Any:
        return tree_map_only(Tensor, lambda x: x.to(dtype), values)

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        first, rest = (args[:1], args[1:]) if first_only else (args, ())
        return (*cast(first, inside), *rest), kwargs if first_only else cast(kwargs, inside)

    module.register_forward_pre_hook(before, with_kwargs=True)
    module.register_forward_hook(lambda _, __, output: cast(output, outside))


def _widened(_: nn.Module, args: Any, kwargs: Any) -> Any:
    """The inputs of a recurrent layer in float32."""
    return tree_map_only(Tensor, lambda x: x.float(), (args, kwargs))


def _narrowed(_: nn.Module, __: Any, output: Any) -> Any:
    """Its output in float16, the states after it as they are."""
    y, states = output
    return y.half(), states
