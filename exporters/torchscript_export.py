"""Writing TorchScript files."""

from pathlib import Path

import torch
from torch import Tensor, nn


def export_torchscript(module: nn.Module, example: Tensor, path: Path) -> None:
    """Trace a lowered module, freeze it and write it. Shapes stay dynamic where the module's are.

    Tracing can bake in the traced length: the parity check runs other lengths and finds it.
    """
    with torch.inference_mode():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module.eval(), (example,), check_trace=False
        )
        torch.jit.save(torch.jit.freeze(traced), str(path))
