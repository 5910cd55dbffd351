"""An engine of a bundle in steps: its copies and its network with CUDA events in between."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from benchmarks.gpu_runners import timing_event
from benchmarks.gpu_timing import Parts
from benchmarks.gpu_workload import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import TensorMemory, capture, use_gpu
from frcrn_export.runtime.sessions.tensorrt_contexts import ClassicContexts, RtxContexts
from frcrn_export.runtime.sessions.tensorrt_engine import load_engine
from frcrn_export.runtime.sessions.tensorrt_lane import BoundShape, Contexts

if TYPE_CHECKING:
    from cuda.core.graph import Graph


class EngineSteps:
    """What the engine's session puts into one CUDA graph, in three steps.

    With classic TensorRT the network alone is a graph; TensorRT-RTX makes its own.
    """

    def __init__(self, bundle: Bundle, entry: FileEntry) -> None:
        self._engine = load_engine(bundle, entry)
        self._device = use_gpu()
        self._stream = self._device.create_stream()
        self._events = [timing_event() for _ in range(4)]
        self._contexts: Contexts
        if self._engine.info.backend == "tensorrt":
            self._contexts = ClassicContexts(self._engine, self._device, self._stream)
        else:
            self._contexts = RtxContexts(self._engine)

    def runner(
        self, shape: tuple[int, ...]
    ) -> Callable[[Float32Array], tuple[Float32Array, Parts]]:
        """One call at a time for this shape."""
        bound = self._bind(shape)
        graph: Graph | None = None
        if self._contexts.graph_shapes:
            self._execute(bound)  # TensorRT wants a run at a new shape before it is captured
            self._stream.sync()
            graph = capture(self._stream, lambda: self._execute(bound))
        handle = int(self._stream.handle)
        stream = torch.cuda.ExternalStream(handle, device=0)  # type: ignore[no-untyped-call]
        start, uploaded, computed, downloaded = self._events

        def run(inputs: Float32Array) -> tuple[Float32Array, Parts]:
            bound.inputs[0].host[...] = inputs
            start.record(stream)
            bound.inputs[0].upload(self._stream)
            uploaded.record(stream)
            if graph is None:
                self._execute(bound)
            else:
                graph.launch(self._stream)
            computed.record(stream)
            bound.output.download(self._stream)
            downloaded.record(stream)
            self._stream.sync()
            parts = Parts(
                start.elapsed_time(uploaded),
                uploaded.elapsed_time(computed),
                computed.elapsed_time(downloaded),
            )
            return bound.output.host.copy(), parts

        return run

    def _bind(self, shape: tuple[int, ...]) -> BoundShape:
        """A context that is set to one shape. The output has the shape of the input."""
        entry = self._engine.entry
        if not self._engine.info.profile.includes(shape):
            raise BackendError(f"{entry.path}: its profile does not include {list(shape)}")
        source, target = entry.inputs[0].name, entry.outputs[0].name
        memory = [TensorMemory(self._device, shape, self._stream).view(shape) for _ in range(2)]
        context = self._contexts.create()
        accepted = (
            context.set_input_shape(source, shape),
            context.set_tensor_address(source, memory[0].address),
            context.set_tensor_address(target, memory[1].address),
        )
        if not all(accepted):
            raise self._engine.failure("refused a shape or an address")
        return BoundShape(self._engine, context, (memory[0],), memory[1])

    def _execute(self, bound: BoundShape) -> None:
        if not bound.context.execute_async_v3(int(self._stream.handle)):
            raise self._engine.failure("failed")
