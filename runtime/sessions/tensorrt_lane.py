"""One lane of an engine: a CUDA stream, memory for tensors, and CUDA graphs for a few shapes."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.gpu import Shape, TensorMemory, TensorView, capture, use_gpu
from frcrn_export.runtime.sessions.tensorrt_engine import Engine

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.core import Device, Stream
    from cuda.core.graph import Graph

logger = logging.getLogger(__name__)


class Contexts(Protocol):
    """Makes the execution contexts of a lane. They run one after another, never side by side."""

    @property
    def graph_shapes(self) -> int:
        """The number of shapes with a CUDA graph; 0 where TensorRT captures itself."""

    def create(self) -> "trt.IExecutionContext":
        """A new context. Raises BackendError."""

    def after_new_shape(self) -> None:
        """Called when the lane has run a shape for the first time."""


@dataclass(frozen=True)
class BoundShape:
    """An execution context bound to one shape and to the memory of its tensors."""

    engine: Engine
    context: "trt.IExecutionContext"
    inputs: tuple[TensorView, ...]
    output: TensorView

    def enqueue(self, stream: "Stream") -> None:
        """Enqueue a whole run: inputs to the GPU, the network, output to the host."""
        self.upload(stream)
        self.execute(stream)
        self.output.download(stream)

    def upload(self, stream: "Stream") -> None:
        """Enqueue the copies of the inputs to the GPU."""
        for view in self.inputs:
            view.upload(stream)

    def execute(self, stream: "Stream") -> None:
        """Enqueue the network alone."""
        if not self.context.execute_async_v3(int(stream.handle)):
            raise self.engine.failure("failed")


@dataclass(frozen=True)
class CapturedShape:
    """A shape with its own context, and its run as a CUDA graph if capture succeeded."""

    bound: BoundShape
    graph: "Graph | None"

    def enqueue(self, stream: "Stream") -> None:
        """As `BoundShape.enqueue`, in one call of the driver."""
        if self.graph is None:
            self.bound.enqueue(stream)
        else:
            self.graph.launch(stream)


def capture_shape(bound: BoundShape, stream: "Stream", contexts: Contexts) -> CapturedShape:
    """Capture the runs of a bound shape, as `graph_of` does."""
    return CapturedShape(bound, graph_of(bound, bound.enqueue, stream, contexts))


def graph_of(
    bound: BoundShape, enqueue: Callable[["Stream"], None], stream: "Stream", contexts: Contexts
) -> "Graph | None":
    """What `enqueue` puts into the stream for a bound shape, as a CUDA graph.

    The shape has run before, as TensorRT requires after a new one. None where TensorRT captures
    itself, and where the capture fails: runs go without a graph then.
    """
    if not contexts.graph_shapes:
        return None
    try:
        return capture(stream, lambda: enqueue(stream))
    except Exception as error:
        path, shape = bound.engine.entry.path, bound.inputs[0].host.shape
        logger.info("%s: no CUDA graph for %s: %s", path, shape, str(error))
        return None


class Lane:
    """Runs an engine for one thread at a time.

    Input and output memory is allocated once, for the largest shape of the profile. The second run
    of a shape gets its own context and is captured; later runs replay the graph. One context cannot
    serve several graphs: setting another shape changes state that a graph relies on.
    """

    def __init__(
        self,
        engine: Engine,
        device: "Device",
        open_contexts: Callable[["Device", "Stream"], Contexts],
    ) -> None:
        self._engine = engine
        self.cuda_stream = device.create_stream()
        self.contexts = open_contexts(device, self.cuda_stream)
        self._any_shape = self.contexts.create()
        largest = engine.info.profile.max
        largest_output = self._set_shape(self._any_shape, largest)
        self._input = TensorMemory(device, largest, self.cuda_stream)
        self._output = TensorMemory(device, largest_output, self.cuda_stream)
        self._bound: BoundShape | None = None  # the shape of `_any_shape`
        self._captured: OrderedDict[Shape, CapturedShape] = OrderedDict()
        self._seen: set[Shape] = set()

    def run(self, inputs: Float32Array) -> Float32Array:
        """The output for an input whose shape the profile includes; the array is the caller's."""
        use_gpu()
        shape = inputs.shape
        captured = self._captured.get(shape)
        if captured is not None:
            self._captured.move_to_end(shape)
            return self._run(captured, captured.bound, inputs)
        if shape in self._seen and self.contexts.graph_shapes:
            bound = self._bind(self.contexts.create(), shape)
            output = self._run(bound, bound, inputs)
            self._capture(bound, shape)
            return output
        bound = self.bind(shape)
        output = self._run(bound, bound, inputs)
        if shape not in self._seen:
            self._seen.add(shape)
            self.contexts.after_new_shape()
        return output

    def bind(self, shape: Shape) -> BoundShape:
        """The context of shapes without a graph, bound to one; it serves until the next shape."""
        if self._bound is None or self._bound.inputs[0].host.shape != shape:
            self._bound = None  # in case binding fails
            self._bound = self._bind(self._any_shape, shape)
        return self._bound

    def _run(
        self, work: BoundShape | CapturedShape, bound: BoundShape, inputs: Float32Array
    ) -> Float32Array:
        bound.inputs[0].host[...] = inputs
        try:
            work.enqueue(self.cuda_stream)
        except BaseException:
            with suppress(Exception):  # no run may use the memory after this
                self.cuda_stream.sync()
            raise
        self.cuda_stream.sync()
        return bound.output.host.copy()

    def _capture(self, bound: BoundShape, shape: Shape) -> None:
        self._captured[shape] = capture_shape(bound, self.cuda_stream, self.contexts)
        if len(self._captured) > self.contexts.graph_shapes:
            self._captured.popitem(last=False)

    def _bind(self, context: "trt.IExecutionContext", shape: Shape) -> BoundShape:
        output_shape = self._set_shape(context, shape)
        bound = BoundShape(
            self._engine, context, (self._input.view(shape),), self._output.view(output_shape)
        )
        entry = self._engine.entry
        self._require(context.set_tensor_address(entry.inputs[0].name, bound.inputs[0].address))
        self._require(context.set_tensor_address(entry.outputs[0].name, bound.output.address))
        return bound

    def _set_shape(self, context: "trt.IExecutionContext", shape: Shape) -> Shape:
        """Set the shape of the input; gives that of the output."""
        entry = self._engine.entry
        self._require(context.set_input_shape(entry.inputs[0].name, shape))
        dims = context.get_tensor_shape(entry.outputs[0].name)
        output_shape = tuple(dims[axis] for axis in range(len(dims)))
        self._require(min(output_shape) > 0)  # -1 where it is not known before the run
        return output_shape

    def _require(self, done: bool) -> None:
        if not done:
            raise self._engine.failure("refused a shape or an address")
