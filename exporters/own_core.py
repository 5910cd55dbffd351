"""The core around a user's own module: its signature, and checks of the module."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm

from frcrn_export.exporters.family import Processing
from frcrn_export.runtime.bundle.manifest import StftSpec
from frcrn_export.runtime.errors import UserError

Output = Literal["spectrum", "mask", "wave"]

_SIZES = ((2, 23), (1, 31))  # (batch, hops) of the checks


class Core(nn.Module):
    """A user's own module with the signature of a core.

    spec [B, 2, F, T] or wave [B, 1, N] to the enhanced one of the same shape. A mask is multiplied
    with the spectrum here, in float32.
    """

    def __init__(self, module: nn.Module, gives: Output, stft: StftSpec | None, name: str) -> None:
        super().__init__()
        self.module = module
        self.gives = gives
        self.bins = None if stft is None else stft.bins
        self.named = name

    def forward(self, given: Tensor) -> Tensor:
        made: Tensor = self.module(given)
        if self.gives == "wave":
            return made.unsqueeze(1) if made.dim() == 2 else made
        if self.gives == "spectrum":
            return made
        if made.dim() == 3:
            made = made.unsqueeze(1)
        if made.shape[1] == 1:
            return given * made
        re, im = given[:, :1], given[:, 1:]
        mask_re, mask_im = made[:, :1], made[:, 1:]
        return torch.cat((mask_re * re - mask_im * im, mask_re * im + mask_im * re), dim=1)

    def allowed(self, given: Tensor) -> tuple[tuple[int, ...], ...]:
        """The allowed shapes of the module's output for an input."""
        batch, last = given.shape[0], given.shape[-1]
        if self.gives == "wave":
            return (batch, 1, last), (batch, last)
        assert self.bins is not None
        whole = (batch, 2, self.bins, last)
        if self.gives == "spectrum":
            return (whole,)
        return whole, (batch, 1, self.bins, last), (batch, self.bins, last)


@torch.inference_mode()
def check_promises(core: Core, processing: Processing) -> None:
    """Run the module on noise and on silence. Raises UserError where its output is invalid."""
    for batch, hops in _SIZES:
        if core.bins is None:
            given = torch.randn(batch, 1, hops * processing.padding.size)
        else:
            given = torch.randn(batch, 2, core.bins, hops)
        _check_shape(core, given)
        made = core(given)
        if not torch.isfinite(made).all():
            raise UserError(f"{core.named}: gives NaN or infinite values for finite input")
        if not torch.isfinite(core(torch.zeros_like(given))).all():
            raise UserError(
                f"{core.named}: gives NaN or infinite values for silence; add a small number where "
                "it divides or takes a logarithm"
            )
        if not torch.equal(core(given), made):
            raise UserError(
                f"{core.named}: gives different outputs for the same input; take out what "
                "is random in eval mode, or kept from call to call"
            )


def _check_shape(core: Core, given: Tensor) -> None:
    made = core.module(given)
    allowed = core.allowed(given)
    if not isinstance(made, Tensor):
        raise UserError(
            f"{core.named}: gives {type(made).__name__}, not one tensor; return the {core.gives} "
            "alone"
        )
    if not made.is_floating_point():
        raise UserError(
            f"{core.named}: gives {made.dtype}; return real numbers, complex ones as real and "
            "imaginary part on axis 1: [B, 2, F, T]"
        )
    if tuple(made.shape) not in allowed:
        shapes = " or ".join(str(list(shape)) for shape in allowed)
        raise UserError(
            f"{core.named}: gives {list(made.shape)} for an input of {list(given.shape)}, "
            f"--module-output {core.gives} is {shapes}"
        )


def bake_weight_norms(network: nn.Module) -> None:
    """Turn weights that are computed in each call (weight and spectral norm) into plain weights."""
    for module in network.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name)
    network.requires_grad_(False)
