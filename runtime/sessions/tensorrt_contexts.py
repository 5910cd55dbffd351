"""Execution contexts of the two backends: with shared memory, or with a runtime cache."""

import logging
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.cache import cache_dir
from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt
from frcrn_export.runtime.sessions.tensorrt_engine import Engine

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.core import Device, Stream

logger = logging.getLogger(__name__)

_GRAPH_SHAPES = 4  # a graph takes a few hundred kilobytes on the GPU


class ClassicContexts:
    """Contexts of classic TensorRT for one lane, which share their activation memory.

    So every captured shape has a context of its own at almost no memory.
    """

    graph_shapes = _GRAPH_SHAPES

    def __init__(self, engine: Engine, device: "Device", stream: "Stream") -> None:
        self._engine = engine
        self._size = engine.plan.device_memory_size_v2
        self._memory = device.allocate(max(1, self._size), stream=stream)

    def create(self) -> "trt.IExecutionContext":
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = load_tensorrt("tensorrt")
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.plan.create_execution_context(strategy)
        if context is None:
            raise self._engine.failure("makes no execution context")
        context.set_device_memory(int(self._memory.handle), self._size)
        return context

    def after_new_shape(self) -> None:
        """Nothing to do: all kernels are in the engine."""


class RtxContexts:
    """Contexts of TensorRT-RTX, which compiles kernels and captures graphs itself.

    It compiles the kernels of a shape before its first run; the user's cache folder keeps them.
    """

    graph_shapes = 0

    def __init__(self, engine: Engine) -> None:
        rtx: Any = load_tensorrt("tensorrt-rtx")
        self._engine = engine
        self._config = cast(Any, engine.plan.create_runtime_config())  # has more than TensorRT's
        self._config.cuda_graph_strategy = rtx.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        specialization = rtx.DynamicShapesKernelSpecializationStrategy.EAGER
        self._config.dynamic_shapes_kernel_specialization_strategy = specialization
        self._cache = self._config.create_runtime_cache()
        self._config.set_runtime_cache(self._cache)
        name = f"{engine.entry.sha256[:32]}.sm{engine.gpu.sm}.cache"
        self._file = cache_dir() / "tensorrt-rtx" / name
        self._lock = Lock()
        self._load()

    def create(self) -> "trt.IExecutionContext":
        context: trt.IExecutionContext | None = self._engine.plan.create_execution_context(
            self._config
        )
        if context is None:
            raise self._engine.failure("makes no execution context")
        return context

    def after_new_shape(self) -> None:
        """Store the compiled kernels; a failure is only logged."""
        try:
            with self._lock:
                replace_file(self._file, bytes(self._cache.serialize()))
        except Exception as error:
            logger.info("%s: not written: %s", self._file, error)

    def _load(self) -> None:
        try:
            fits = self._file.is_file() and self._cache.deserialize(self._file.read_bytes())
            logger.info("%s: %s", self._file, "loaded" if fits else "nothing that fits here")
        except Exception as error:
            logger.info("%s: not read: %s", self._file, error)


def contexts_of(
    engine: Engine, device: "Device", stream: "Stream"
) -> ClassicContexts | RtxContexts:
    """The contexts of the engine's backend, for one lane."""
    if engine.info.backend == "tensorrt-rtx":
        return RtxContexts(engine)
    return ClassicContexts(engine, device, stream)
