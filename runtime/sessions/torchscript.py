"""Sessions in TorchScript: the core as PyTorch saved it, on a CPU or the first CUDA device."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.registry import check_input

if TYPE_CHECKING:
    import torch


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
                output = self.module(torch.from_numpy(inputs).to(self.device))
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise BackendError(f"{self.entry.path}: {self.backend} failed: {last}") from error
        array: Float32Array = output.cpu().numpy()
        return array


def open_torchscript(bundle: Bundle, entry: FileEntry, threads: int | None) -> TorchScriptSession:
    """Load the module. `threads` sets PyTorch's for the whole process."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = bundle.file(entry)
    try:
        module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise BackendError(
            f"{path}: this PyTorch ({torch.__version__}) cannot load it; "
            f"run: {export_again(bundle.manifest)}"
        ) from error
    return TorchScriptSession(module, "torchscript", device, entry)
