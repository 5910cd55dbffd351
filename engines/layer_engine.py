"""Running an engine with many outputs, one shape, one call after another."""

from collections.abc import Mapping, Sequence

from frcrn_export.exporters.layer_runs import Arrays
from frcrn_export.runtime.gpu import TensorMemory, TensorView, cuda_errors, use_gpu
from frcrn_export.runtime.sessions.tensorrt_contexts import contexts_of
from frcrn_export.runtime.sessions.tensorrt_engine import Engine


class LayerEngine:
    """An engine for one shape. `outputs` has the engine's names of tensors of other names."""

    def __init__(self, engine: Engine, outputs: Mapping[str, str]) -> None:
        self._engine = engine
        self._outputs = outputs
        with cuda_errors(engine.entry.path):
            self._device = use_gpu()
            self._stream = self._device.create_stream()
            # They hold the activations' memory.
            self._contexts = contexts_of(engine, self._device, self._stream)
            self._context = self._contexts.create()
        self._inputs: dict[str, TensorView] = {}
        self._results: dict[str, TensorView] = {}

    def run(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        """The named outputs for all inputs; the arrays are the caller's. Raises BackendError."""
        with cuda_errors(self._engine.entry.path):
            if not self._inputs:
                self._bind(inputs)
            for name, values in inputs.items():
                self._inputs[name].host[...] = values
                self._inputs[name].upload(self._stream)
            if not self._context.execute_async_v3(int(self._stream.handle)):
                raise self._engine.failure("failed")
            asked = {name: self._results[self._outputs.get(name, name)] for name in names}
            for view in asked.values():
                view.download(self._stream)
            self._stream.sync()
            return {name: view.host.copy() for name, view in asked.items()}

    def _bind(self, inputs: Arrays) -> None:
        context = self._context
        for name, values in inputs.items():
            self._require(context.set_input_shape(name, values.shape))
            self._inputs[name] = self._place(name, values.shape)
        for tensor in self._engine.entry.call_outputs:
            dims = context.get_tensor_shape(tensor.name)
            shape = tuple(dims[axis] for axis in range(len(dims)))
            self._results[tensor.name] = self._place(tensor.name, shape)

    def _place(self, name: str, shape: tuple[int, ...]) -> TensorView:
        view = TensorMemory(self._device, shape, self._stream).view(shape)
        self._require(self._context.set_tensor_address(name, view.address))
        return view

    def _require(self, done: bool) -> None:
        if not done:
            raise self._engine.failure("refused a shape or an address")
