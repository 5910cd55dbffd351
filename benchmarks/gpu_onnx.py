"""A core in ONNX Runtime, with its input and output bound to tensors that stay where they are."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_runners import Prepare
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.onnx import session_options


def bound_onnx(model: bytes, stream: torch.cuda.Stream | None) -> Prepare:
    """A core in ONNX Runtime: on the stream's GPU with CUDA, or on the processor without one.

    Raises BackendError where the provider does not start: one that falls back to the processor
    would be measured as what it is not.
    """
    import onnxruntime

    if stream is None:
        device, options = "cpu", {}
        provider = "CPUExecutionProvider"
    else:
        if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
            onnxruntime.preload_dlls()
        # Of its own it would wait for the whole GPU, and events on this stream would measure less.
        device, options = "cuda", {"user_compute_stream": str(stream.cuda_stream)}
        provider = "CUDAExecutionProvider"
    session = onnxruntime.InferenceSession(
        model,
        session_options(torch.get_num_threads()),
        providers=[(provider, options)],
        enable_fallback=0,
    )
    if session.get_providers()[0] != provider:
        raise BackendError(f"ONNX Runtime cannot start {provider}; run: frcrn-export doctor")
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name
    run_options = onnxruntime.RunOptions()
    run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def prepare(x: Tensor) -> Callable[[], Tensor]:
        y = torch.empty_like(x)
        binding = session.io_binding()
        shape = tuple(x.shape)
        binding.bind_input(source, device, 0, np.float32, shape, x.data_ptr())
        binding.bind_output(target, device, 0, np.float32, shape, y.data_ptr())

        def run() -> Tensor:
            session.run_with_iobinding(binding, run_options)
            return y

        return run

    return prepare
