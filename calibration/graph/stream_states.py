"""The states of a quantized streaming core, some of which are uint8."""

import msgspec
import onnx
from onnx import TensorProto, numpy_helper

from frcrn_export.runtime.bundle.manifest import FileEntry, StateSpec


def state_tensors(graph: onnx.GraphProto) -> list[tuple[str, str]]:
    """Input and output of each state, which come last in order; see FileEntry.call_inputs."""
    after = [value.name for value in graph.output][1:]
    before = [value.name for value in graph.input][len(graph.input) - len(after) :]
    return list(zip(before, after, strict=True))


def with_states_of(content: bytes, entry: FileEntry) -> FileEntry:
    """The entry of a float core with the states of a quantized ONNX file `content` made from it.

    The initial value 0.0 of a uint8 state becomes its zero point.
    """
    if entry.streaming is None:
        return entry
    graph = onnx.load_from_string(content).graph
    in_bytes = {
        value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8
    }
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    zeros = {
        node.input[0]: float(numpy_helper.to_array(arrays[node.input[2]]))
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in in_bytes
    }

    def state(spec: StateSpec) -> StateSpec:
        if spec.name not in zeros:
            return spec
        assert spec.initial == 0.0, "no core has others"
        return msgspec.structs.replace(spec, dtype="uint8", initial=zeros[spec.name])

    states = tuple(map(state, entry.streaming.states))
    streaming = msgspec.structs.replace(entry.streaming, states=states)
    return msgspec.structs.replace(entry, streaming=streaming)
