"""Float16 in the parts of a network that stand it, float32 in the others."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


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
