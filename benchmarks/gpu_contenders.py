"""The table of contenders: what each one is, what it needs, and the function that opens it."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gpu_open import (
    Opened,
    Setup,
    a_bundle,
    a_gpu,
    compiled,
    lowered,
    lowered_fp16,
    onnx,
    overlapped,
    published,
    reference_core,
    session,
    steps,
)
from benchmarks.gpu_published import AS_FOUND, CACHED_STFT, EVAL, FP16
from benchmarks.gpu_timing import MemoryKind
from benchmarks.gpu_workload import Job


@dataclass(frozen=True)
class Contender:
    """One way to run the model. `needs` gives reasons why it cannot run here, empty where it can.

    `published_ms` is the published time of one 20 ms frame of FRCRN on an RTX 4090D.
    """

    name: str
    title: str
    job: Job
    open: Callable[[Setup], Opened]
    needs: tuple[Callable[[Setup], str], ...] = ()
    memory: MemoryKind = "torch"
    published_ms: float | None = None


ENGINE = (a_gpu, a_bundle)

CONTENDERS = (
    Contender(
        "torch-as-found", "PyTorch, as found", "pipeline", published(AS_FOUND), published_ms=45.2
    ),
    Contender("torch-eval", "+ eval", "pipeline", published(EVAL), published_ms=38.7),
    Contender("torch-fp16", "+ fp16", "pipeline", published(FP16), (a_gpu,), published_ms=29.4),
    Contender(
        "torch-cached-stft",
        "+ cached STFT, no gradients",
        "pipeline",
        published(CACHED_STFT),
        published_ms=22.1,
    ),
    Contender(
        "torch-streams",
        "+ asynchronous streams, pinned buffers",
        "pipeline",
        overlapped,
        (a_gpu,),
        published_ms=16.8,
    ),
    Contender("torch-core", "PyTorch, float32", "core", reference_core),
    Contender("lowered", "lowered network", "core", lowered),
    Contender("lowered-fp16", "lowered network, fp16", "core", lowered_fp16, (a_gpu,)),
    Contender("onnxruntime", "ONNX Runtime", "core", onnx("fp32"), memory="driver"),
    Contender("onnxruntime-fp16", "ONNX Runtime, fp16", "core", onnx("fp16"), (a_gpu,), "driver"),
    Contender("tensorrt", "TensorRT", "core", session("tensorrt"), ENGINE, "driver"),
    Contender("tensorrt-steps", "TensorRT in steps", "core", steps("tensorrt"), ENGINE, "driver"),
    Contender("tensorrt-rtx", "TensorRT-RTX", "core", session("tensorrt-rtx"), ENGINE, "driver"),
    Contender(
        "tensorrt-rtx-steps",
        "TensorRT-RTX in steps",
        "core",
        steps("tensorrt-rtx"),
        ENGINE,
        "driver",
    ),
    # The last: it compiles for minutes, and every shape anew.
    Contender("torch-compile", "torch.compile", "core", compiled, (a_gpu,)),
)
