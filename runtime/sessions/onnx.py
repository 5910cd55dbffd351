"""Sessions in ONNX Runtime, on a CPU or through its CUDA and TensorRT providers."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.onnx_file import foreign_part
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import make_again
from frcrn_export.runtime.errors import BackendError, reading
from frcrn_export.runtime.processors import usable_processors
from frcrn_export.runtime.sessions.heap import large_blocks_returned
from frcrn_export.runtime.sessions.onnx_errors import reason_of, what_to_do
from frcrn_export.runtime.sessions.run_limit import Opening, RunLimit
from frcrn_export.runtime.sessions.session import check_input, check_output

if TYPE_CHECKING:
    import onnxruntime

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
# The providers that run the nodes that another cannot.
_CHAINS = {_TENSORRT: [_TENSORRT, _CUDA, _CPU], _CUDA: [_CUDA, _CPU], _CPU: [_CPU]}

_FATAL = 4  # ONNX Runtime's log severity; errors reach us as exceptions


@dataclass(frozen=True)
class OnnxSession:
    """An ONNX file in ONNX Runtime."""

    session: "onnxruntime.InferenceSession"
    backend: str
    device: str
    entry: FileEntry

    def run(self, inputs: Float32Array) -> Float32Array:
        check_input(self.entry, inputs)
        name = self.session.get_inputs()[0].name
        limit = RunLimit(f"{self.entry.path}: {self.backend}", self.device, inputs.size)
        outputs = limit.run(self.session.run, None, {name: inputs})
        return check_output(self.entry, inputs, outputs[0])


def open_best(
    bundle: Bundle, entry: FileEntry, threads: int | None, *, spinning: bool = True
) -> OnnxSession:
    """The first of TensorRT, CUDA and CPU that works on this machine.

    INT8 files for processors run on the CPU: GPUs have no kernels for them. `spinning`: as
    `session_options`.
    """
    import onnxruntime

    why = "it has no provider"
    for_cpu = entry.quantization is not None and entry.quantization.target == "cpu"
    for provider in (_CPU,) if for_cpu else _CHAINS:
        if provider not in onnxruntime.get_available_providers():
            continue
        session = _try(bundle, entry, provider, threads, spinning)
        if not isinstance(session, str):
            return _session(session, "onnxruntime", provider, entry)
        why = session
    raise BackendError(
        f"{bundle.file(entry)}: ONNX Runtime {onnxruntime.__version__} cannot load it ({why}); "
        f"{what_to_do(bundle, entry, why)}"
    )


def open_cpu(
    bundle: Bundle, entry: FileEntry, threads: int | None, *, spinning: bool = True
) -> OnnxSession:
    """On the processor."""
    return _open(bundle, entry, threads, "onnxruntime-cpu", _CPU, spinning)


def open_cuda(
    bundle: Bundle, entry: FileEntry, threads: int | None, *, spinning: bool = True
) -> OnnxSession:
    """On a GPU through CUDA and cuDNN."""
    return _open(bundle, entry, threads, "onnxruntime-cuda", _CUDA, spinning)


def open_tensorrt(bundle: Bundle, entry: FileEntry, threads: int | None) -> OnnxSession:
    """On a GPU through TensorRT, which builds its engines at the first run of a shape."""
    return _open(bundle, entry, threads, "onnxruntime-tensorrt", _TENSORRT)


def _open(
    bundle: Bundle,
    entry: FileEntry,
    threads: int | None,
    backend: str,
    provider: str,
    spinning: bool = True,
) -> OnnxSession:
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise BackendError(
            f"{backend}: the installed ONNX Runtime has no {provider}; run: "
            'pip uninstall onnxruntime && pip install "frcrn-export[gpu]"'
        )
    session = _try(bundle, entry, provider, threads, spinning)
    if isinstance(session, str):
        raise BackendError(
            f"{backend}: {provider} of ONNX Runtime {onnxruntime.__version__} cannot run "
            f"{bundle.file(entry)} here ({session}); {what_to_do(bundle, entry, session)}"
        )
    return _session(session, backend, provider, entry)


def _session(
    session: "onnxruntime.InferenceSession", backend: str, provider: str, entry: FileEntry
) -> OnnxSession:
    return OnnxSession(session, backend, "cpu" if provider == _CPU else "cuda", entry)


def session_options(threads: int | None, *, spinning: bool = True) -> "onnxruntime.SessionOptions":
    """Session options: all optimizations, memory returned after runs, nothing on standard error.

    `threads`: None is one for each processor that this process may use; more than the machine has
    would only wait for each other, and are not started. `spinning`: whether they also wait busily
    between runs, which takes the processors from others, and not only within one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL
    # Independent of the file name: `.ort` would be taken as another format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.intra_op_num_threads = min(threads, os.cpu_count() or 1) if threads else _own_choice()
    if not spinning:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    # A memory pattern holds a second copy of all activations: 8 s through a large network take 2.3
    # GiB with it and 1.3 GiB without, in the same time.
    options.enable_mem_pattern = False
    # Reuse keeps a buffer for a later tensor of the same shape. Without it 1 s takes five sixths of
    # the time, and 60 s half the memory.
    options.enable_mem_reuse = False
    return options


def check_file(bundle: Bundle, entry: FileEntry) -> Path:
    """The path of a file that ONNX Runtime may open.

    Raises BackendError for one that is no ONNX, or holds what no export of ours has.
    """
    path = bundle.file(entry)

    def remedy() -> str:
        return f"run: {make_again(bundle.path, bundle.manifest, entry)}"

    with reading(path, "not an ONNX file", remedy, BackendError):
        str(path).encode()  # ONNX Runtime takes no other names
        foreign = foreign_part(path)
    if foreign is not None:
        raise BackendError(f"{path}: it holds {foreign}; {remedy()}")
    return path


def _own_choice() -> int:
    """ONNX Runtime's own choice, 0, where this process may use all processors of the machine."""
    usable = usable_processors()
    return 0 if usable == os.cpu_count() else usable


def _try(
    bundle: Bundle, entry: FileEntry, provider: str, threads: int | None, spinning: bool
) -> "onnxruntime.InferenceSession | str":
    """A session whose first provider is `provider`, or why there is none.

    Raises BackendError for a file with content that no export of ours has.
    """
    import onnxruntime

    path = check_file(bundle, entry)
    onnxruntime.set_default_logger_severity(_FATAL)
    if provider != _CPU and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    options = session_options(threads, spinning=spinning)
    try:
        with large_blocks_returned(), Opening(options):
            session = onnxruntime.InferenceSession(
                str(path), options, providers=_CHAINS[provider], enable_fallback=0
            )
        if not session.get_inputs():
            return "it has no inputs"
        for tensor in (*session.get_inputs(), *session.get_outputs()):
            _ = tensor.name, tensor.shape  # text of the file, which need not be UTF-8
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        return reason_of(error)
    first = session.get_providers()[0]
    return session if first == provider else f"it starts with {first} instead"
