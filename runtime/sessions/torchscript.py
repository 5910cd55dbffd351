"""Sessions in TorchScript: the core as PyTorch saved it, on a CPU or the first CUDA device."""

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.errors import BackendError, reading
from frcrn_export.runtime.processors import usable_processors
from frcrn_export.runtime.sessions.registry import RUNS_CODE
from frcrn_export.runtime.sessions.session import check_input, check_output
from frcrn_export.runtime.text import shown

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TorchScriptSession:
    """A TorchScript module."""

    module: "torch.jit.ScriptModule"
    backend: str
    device: str
    entry: FileEntry

    def run(self, inputs: Float32Array) -> Float32Array:
        import torch

        check_input(self.entry, inputs)
        try:
            with torch.inference_mode():
                output = self.module(torch.from_numpy(inputs).to(self.device)).cpu().numpy()
        except Exception as error:  # the module may raise anything
            last = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise BackendError(f"{self.entry.path}: {self.backend} failed: {last}") from error
        return check_output(self.entry, inputs, output)


def open_torchscript(bundle: Bundle, entry: FileEntry, threads: int | None) -> TorchScriptSession:
    """Load the module, which runs its code. `threads` sets PyTorch's threads process-wide."""
    import torch

    # PyTorch sees the affinity of the process, and no quota.
    most = (os.cpu_count() or 1) if threads else usable_processors()
    torch.set_num_threads(min(threads or torch.get_num_threads(), most))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = bundle.file(entry)
    if not bundle.trusted:
        logger.warning("%s: %s; open only what you trust", shown(path), RUNS_CODE)
    problem = f"this PyTorch ({torch.__version__}) cannot load it"
    with reading(path, problem, f"run: {export_again(bundle.manifest)}", BackendError):
        module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    return TorchScriptSession(module, "torchscript", device, entry)
