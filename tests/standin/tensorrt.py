"""Stands for TensorRT and TensorRT-RTX: an engine is an ONNX file that ONNX Runtime runs.

Only what the runtime uses is here, with the real signatures; `test_signatures.py` compares them.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np

from tests.standin.cuda import Stream
from tests.standin.gpu import Operation, SimulatedGpu, require_exclusive

_MAGIC = b"stand-in engine "
VERSIONS = {"tensorrt": "11.4.0.33", "tensorrt-rtx": "1.7.1.116"}


@dataclass(frozen=True)
class PlanHeader:
    """What stands before the ONNX file in a stand-in engine. Sizes in bytes."""

    backend: str
    profile: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    activation: int = 1 << 20
    refittable: tuple[str, ...] = ()
    stripped: bool = False


def make_plan(onnx: bytes, header: PlanHeader) -> bytes:
    """The bytes of an engine that a stand-in runtime of the same backend deserializes.

    A stripped one has zeros in place of its refittable weights.
    """
    line = json.dumps(
        [header.backend, header.profile, header.activation, header.refittable, header.stripped]
    )
    if header.stripped:
        onnx = _with_weights(onnx, dict.fromkeys(header.refittable))
    return _MAGIC + line.encode() + b"\n" + onnx


def _with_weights(onnx: bytes, weights: dict[str, Any]) -> bytes:
    """An ONNX file with other initializers; zeros where they are None."""
    from onnx import load_model_from_string, numpy_helper

    model = load_model_from_string(onnx)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            new = weights[tensor.name]
            zeros = np.zeros_like(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(zeros if new is None else new, tensor.name))
    return bytes(model.SerializeToString())


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class DataType(Enum):
    FLOAT = "tensor(float)"
    HALF = "tensor(float16)"
    INT64 = "tensor(int64)"


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class CudaGraphStrategy(Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class Mirror:
    """Refuses attributes that the class does not declare, as the binding's classes do."""

    def __setattr__(self, name: str, value: Any) -> None:
        declared = getattr(type(self), name, None)
        settable = isinstance(declared, property) and declared.fset is not None
        if not (name.startswith("_") or settable):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)


class ILogger(Mirror):
    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE
    Severity = Severity

    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class Dims:
    """Not a tuple, as in the binding."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = tuple(shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, index: int) -> int:
        return self._shape[index]


class HostMemory(bytes):
    """Stands for `IHostMemory`, which has the buffer protocol."""


class Builder(Mirror):
    """Can be made; engines of tests are made by `make_plan`."""

    def __init__(self, logger: ILogger) -> None:
        if not getattr(logger, "_ready", False):
            raise TypeError("ILogger.__init__() must be called when overriding __init__")
        self._logger = logger


class Runtime(Mirror):
    _gpu: SimulatedGpu
    _streams: dict[int, Stream]
    _backend: str

    def __init__(self, logger: ILogger) -> None:
        if not getattr(logger, "_ready", False):
            raise TypeError("ILogger.__init__() must be called when overriding __init__")
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        self._gpu.require_current("deserialize_cuda_engine")
        self._logger.log(Severity.INFO, "Loaded engine size: 0 MiB")
        header, newline, onnx = bytes(serialized_engine).partition(b"\n")
        if not header.startswith(_MAGIC) or not newline:
            return self._fail("Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG")
        backend, profile, activation, refittable, stripped = json.loads(header[len(_MAGIC) :])
        if backend != self._backend:
            return self._fail("Serialization assertion header.pad == expectedPlatformTag")
        engine = ICudaEngine._of(self, onnx, profile, activation)
        engine._refittable, engine._missing = refittable, set(refittable if stripped else ())
        return engine

    def _fail(self, reason: str) -> None:
        self._logger.log(Severity.ERROR, f"IRuntime::deserializeCudaEngine: Error Code 1: {reason}")
        self._logger.log(Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 2: later")


class IRuntimeCache(Mirror):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("No constructor defined!")

    @classmethod
    def _new(cls, gpu: SimulatedGpu) -> IRuntimeCache:
        made = object.__new__(cls)
        made._gpu, made._shapes = gpu, set()
        return made

    def serialize(self) -> HostMemory:
        return HostMemory(json.dumps([self._gpu.sm, sorted(self._shapes)]).encode())

    def deserialize(self, blob: bytes) -> bool:
        self._gpu.require_current("IRuntimeCache.deserialize")
        try:
            sm, shapes = json.loads(blob)
        except ValueError:
            return False
        if sm != self._gpu.sm:
            return False
        self._shapes = {tuple(shape) for shape in shapes}
        return True


class IRuntimeConfig(Mirror):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("No constructor defined!")

    @classmethod
    def _new(cls, gpu: SimulatedGpu) -> IRuntimeConfig:
        made = object.__new__(cls)
        made._gpu, made._cache = gpu, None
        made._graphs = CudaGraphStrategy.DISABLED
        made._kernels = DynamicShapesKernelSpecializationStrategy.LAZY
        return made

    @property
    def cuda_graph_strategy(self) -> CudaGraphStrategy:
        return self._graphs

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self, value: CudaGraphStrategy) -> None:
        self._graphs = CudaGraphStrategy(value)

    @property
    def dynamic_shapes_kernel_specialization_strategy(
        self,
    ) -> DynamicShapesKernelSpecializationStrategy:
        return self._kernels

    @dynamic_shapes_kernel_specialization_strategy.setter
    def dynamic_shapes_kernel_specialization_strategy(
        self, value: DynamicShapesKernelSpecializationStrategy
    ) -> None:
        self._kernels = DynamicShapesKernelSpecializationStrategy(value)

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache._new(self._gpu)

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._cache = cache
        return True


class ICudaEngine(Mirror):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("No constructor defined!")

    @classmethod
    def _of(cls, runtime: Runtime, onnx: bytes, profile: Any, activation: int) -> ICudaEngine:
        import onnxruntime

        made = object.__new__(cls)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        made._runtime, made._onnx = runtime, onnx
        made._refittable, made._missing = [], set()
        made._session = onnxruntime.InferenceSession(
            onnx, options, providers=["CPUExecutionProvider"]
        )
        inputs, outputs = made._session.get_inputs(), made._session.get_outputs()
        made._tensors = [(t, TensorIOMode.INPUT) for t in inputs]
        made._tensors += [(t, TensorIOMode.OUTPUT) for t in outputs]
        made._profile, made._activation = profile, activation
        return made

    @property
    def _inputs(self) -> list[str]:
        return [t.name for t, mode in self._tensors if mode is TensorIOMode.INPUT]

    def _tensor(self, name: str) -> Any:
        return next(t for t, _ in self._tensors if t.name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def serialize(self) -> HostMemory:
        header = PlanHeader(
            self._runtime._backend, self._profile, self._activation, tuple(self._refittable)
        )
        return HostMemory(make_plan(self._onnx, header))

    @property
    def device_memory_size_v2(self) -> int:
        return self._activation

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index][0].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return next((mode for t, mode in self._tensors if t.name == name), TensorIOMode.NONE)

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._tensor(name).type)

    def _range(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The smallest and largest shape of an input; the header's profile is of the first one.

        The others have its batch, and no other dynamic axis.
        """
        low, _, high = self._profile
        if name == self._tensors[0][0].name:
            return low, high
        axes = self._tensor(name).shape
        return tuple(
            tuple(axis if isinstance(axis, int) else bound[0] for axis in axes)
            for bound in (low, high)
        )

    def create_execution_context(self, *args: Any, **kwargs: Any) -> IExecutionContext | None:
        config, strategy = None, ExecutionContextAllocationStrategy.STATIC
        for value in (*args, *kwargs.values()):
            if isinstance(value, IRuntimeConfig) and self._runtime._backend == "tensorrt-rtx":
                config = value
            elif isinstance(value, ExecutionContextAllocationStrategy):
                strategy = value
            else:
                raise TypeError(f"incompatible function arguments: {value!r}")
        gpu = self._runtime._gpu
        gpu.require_current("create_execution_context")
        if self._missing:
            gpu.refuse("create_execution_context: the engine lacks weights")
        memory = None
        if strategy is ExecutionContextAllocationStrategy.STATIC:
            if not gpu.has_room(self._activation):
                self._runtime._logger.log(
                    Severity.ERROR,
                    f"[executionContext.cpp] Requested amount of GPU memory ({self._activation} "
                    "bytes) could not be allocated. There may not be enough free memory.",
                )
                return None
            memory = gpu.allocate(self._activation, on_device=True)
        gpu.contexts += 1
        return IExecutionContext._of(self, config, memory)

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig._new(self._runtime._gpu)


class Refitter(Mirror):
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self._engine, self._logger = engine, logger
        self._new: dict[str, Any] = {}

    def get_all_weights(self) -> list[str]:
        return list(self._engine._refittable)

    def get_missing_weights(self) -> list[str]:
        return sorted(self._engine._missing - self._new.keys())

    def refit_cuda_engine(self) -> bool:
        engine = self._engine
        engine._runtime._gpu.require_current("refit_cuda_engine")
        if self.get_missing_weights():
            self._logger.log(Severity.ERROR, "IRefitter::refitCudaEngine: missing weights")
            return False
        import onnxruntime

        engine._onnx = _with_weights(engine._onnx, self._new)
        engine._session = onnxruntime.InferenceSession(
            engine._onnx, providers=["CPUExecutionProvider"]
        )
        engine._missing = set()
        return True


class OnnxParserRefitter(Mirror):
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        self._refitter, self._logger = refitter, logger

    def refit_from_bytes(self, model: bytes) -> bool:
        from onnx import load_model_from_string, numpy_helper

        known = set(self._refitter.get_all_weights())
        tensors = load_model_from_string(bytes(model)).graph.initializer
        found = {t.name: numpy_helper.to_array(t) for t in tensors if t.name in known}
        if found.keys() != known:
            self._logger.log(Severity.ERROR, "not all weights of the engine are in the model")
            return False
        self._refitter._new = found
        return True


class IExecutionContext(Mirror):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("No constructor defined!")

    @classmethod
    def _of(cls, engine: ICudaEngine, config: IRuntimeConfig | None, memory: Any) -> Any:
        made = object.__new__(cls)
        made._engine, made._config, made._own = engine, config, memory
        made._gpu = engine._runtime._gpu
        made._activation = (memory.address, memory.bytes) if memory else None
        made._shapes: dict[str, tuple[int, ...]] = {}  # of the inputs
        made._addresses: dict[str, int] = {}
        made._state = 0  # goes up with every change
        made._flushed = -1  # the state that a run outside a capture has gone through with
        made._busy = 0  # the thread whose run is not done yet
        return made

    def __del__(self) -> None:
        if getattr(self, "_own", None) is not None:
            self._gpu.free(self._own)

    def _touch(self, call: str) -> None:
        self._gpu.require_current(call)
        if self._busy not in (0, threading.get_ident()):
            self._gpu.refuse(f"{call}: another thread uses this context")

    def _fail(self, reason: str) -> bool:
        message = f"IExecutionContext::enqueueV3: Error Code 3: API Usage Error ({reason})"
        self._engine._runtime._logger.log(Severity.ERROR, message)
        return False

    def set_device_memory(self, memory: int, size: int) -> None:
        self._touch("set_device_memory")
        if size < self._engine._activation:
            self._gpu.refuse("set_device_memory: less than device_memory_size_v2")
        self._activation = (int(memory), size)
        self._state += 1

    def set_input_shape(self, name: str, shape: tuple[int, ...] | list[int] | Dims) -> bool:
        self._touch("set_input_shape")
        if not isinstance(shape, tuple | list | Dims):
            raise TypeError("set_input_shape(): incompatible function arguments")
        if self._engine.get_tensor_mode(name) is not TensorIOMode.INPUT:
            return self._fail(f"{name} is not an input")
        low, high = self._engine._range(name)
        shape = tuple(shape[axis] for axis in range(len(shape)))
        inside = len(shape) == len(low) and all(
            a <= size <= b for a, size, b in zip(low, shape, high, strict=True)
        )
        if not inside:
            return self._fail(f"Set dimensions {shape} do not satisfy the optimization profile")
        self._shapes[name] = shape
        self._state += 1
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._shape_of(name))

    def _shape_of(self, name: str) -> tuple[int, ...]:
        """Dynamic axes of one name are of one size, as in the ONNX file; -1 while it is unknown.

        A run tells the axes that no input has.
        """
        if name in self._shapes:
            return self._shapes[name]
        sizes: dict[str, int] = {}
        for tensor, _ in self._engine._tensors:
            for axis, size in zip(tensor.shape, self._shapes.get(tensor.name, ()), strict=False):
                sizes[str(axis)] = size
        found = self._engine._tensor(name).shape
        shape = tuple(a if isinstance(a, int) else sizes.get(a, -1) for a in found)
        if (shape and min(shape) > 0) or len(self._shapes) < len(self._engine._inputs):
            return shape
        zeros = {given: np.zeros(size, np.float32) for given, size in self._shapes.items()}
        return tuple(self._engine._session.run([name], zeros)[0].shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._touch("set_tensor_address")
        if not isinstance(memory, int):
            raise TypeError("set_tensor_address(): incompatible function arguments")
        if self._engine.get_tensor_mode(name) is TensorIOMode.NONE:
            return self._fail(f"{name} is not a tensor of this engine")
        self._addresses[name] = memory
        self._state += 1
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._touch("execute_async_v3")
        gpu, engine = self._gpu, self._engine
        stream = engine._runtime._streams[int(stream_handle)]
        names = [tensor.name for tensor, _ in engine._tensors]
        if gpu.execution_fails:
            return self._fail(gpu.execution_fails)
        inputs = engine._inputs
        known = all(name in self._shapes for name in inputs)
        if not known or any(name not in self._addresses for name in names):
            return self._fail("not all shapes and addresses are set")
        if self._activation is None:
            gpu.refuse("execute_async_v3: a USER_MANAGED context without memory")
        capturing = stream._captured is not None
        if capturing and engine._runtime._backend == "tensorrt-rtx":
            gpu.refuse("TensorRT-RTX captures by itself")
        if capturing and self._flushed != self._state:
            gpu.refuse("a capture without a run since the last change of shape or address")
        if not capturing:
            self._flushed = self._state
            self._compile()
            self._busy = threading.get_ident()
        shapes = {name: self._shape_of(name) for name in names}
        addresses, state = dict(self._addresses), self._state
        uses = tuple((addresses[n], 4 * math.prod(shapes[n]), "a run") for n in names)
        uses += ((*self._activation, "a run's activations"),)
        if not capturing:
            require_exclusive(gpu, stream._number, uses)

        def execute() -> None:
            if self._state != state:
                gpu.refuse("a run or a graph of a context whose shape or address has changed since")
            gpu.bytes_at(*self._activation, "activations", True)
            arrays = {
                name: gpu.bytes_at(address, 4 * math.prod(shapes[name]), name, True)
                .view(np.float32)
                .reshape(shapes[name])
                for name, address in addresses.items()
            }
            gpu.executions += 1
            results = engine._session.run(None, {name: arrays[name] for name in inputs})
            for name, result in zip(names[len(inputs) :], results, strict=True):
                arrays[name][...] = result

        if not capturing:
            gpu.host_ms += gpu.enqueue_ms
        stream._put(Operation(execute, uses, self._done, gpu.compute_ms))
        return True

    def _done(self) -> None:
        self._busy = 0

    def _compile(self) -> None:
        """TensorRT-RTX compiles kernels for a shape that its cache does not know."""
        config = self._config
        cache = config._cache if config else None
        shape = next(iter(self._shapes.values()))
        if config is None or cache is None or shape in cache._shapes:
            return
        self._gpu.compiled.append(shape)
        cache._shapes.add(shape)


def make_tensorrt(
    gpu: SimulatedGpu, streams: dict[int, Stream], backend: str, version: str | None = None
) -> ModuleType:
    """A module that stands for `tensorrt` or `tensorrt_rtx`."""
    module = ModuleType(backend.replace("-", "_"))
    module.__version__ = version or VERSIONS[backend]
    facts = {"_gpu": gpu, "_streams": streams, "_backend": backend}
    module.Runtime = type("Runtime", (Runtime,), facts)
    shared = [Refitter, OnnxParserRefitter]
    shared += [ILogger, Builder, DataType, TensorIOMode, ExecutionContextAllocationStrategy]
    rtx = [CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy]
    for public in shared + (rtx if backend == "tensorrt-rtx" else []):
        setattr(module, public.__name__, public)
    return module
