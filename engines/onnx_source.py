"""The ONNX file that an engine is built from: read, and checked to be one of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.layer_report import OnnxNode
from frcrn_export.runtime.errors import BackendError, UserError

if TYPE_CHECKING:
    import onnx

INPUT_NAMES = ("spec", "wave")
# ONNX's element types in TensorRT's words.
_TYPE_NAMES = {
    "FLOAT": "Float",
    "FLOAT16": "Half",
    "BFLOAT16": "BFloat16",
    "FLOAT8E4M3FN": "FP8",
    "INT8": "Int8",
    "INT32": "Int32",
    "INT64": "Int64",
    "BOOL": "Bool",
}
# What computes with a weight, its second input.
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_CONTROL_FLOW = ("If", "Loop", "Scan")


@dataclass(frozen=True)
class OnnxSource:
    """A core as ONNX, and its nodes by name."""

    model: bytes
    input: str
    nodes: Mapping[str, OnnxNode]


def read_source(path: Path, states: Sequence[str] = ()) -> OnnxSource:
    """Read an ONNX file; `states` are the names of a streaming core's further inputs.

    Raises UserError for one that is not a core that this package wrote.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise BackendError(
            f'onnx is not installed ({error}); run: pip install "frcrn-export[export]"'
        ) from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a core that frcrn-export wrote") from error
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise UserError(f"{path}: not an ONNX file; give a core that frcrn-export wrote") from error
    if problem := _problem(model, states):
        raise UserError(f"{path}: {problem}; give a core that frcrn-export wrote")
    return OnnxSource(
        model=data,
        input=model.graph.input[0].name,
        nodes=_nodes(model),
    )


def _problem(model: "onnx.ModelProto", states: Sequence[str]) -> str | None:
    """Why a model is not one of ours, or None."""
    from onnx import TensorProto

    graph = model.graph
    if not graph.node:
        return "an ONNX file without nodes"
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if not states and (len(inputs) != 1 or len(graph.output) != 1 or len(graph.input) != 1):
        return f"{len(inputs)} inputs and {len(graph.output)} outputs where a core has one of each"
    if [value.name for value in inputs[1:]] != list(states):
        return "its states are not those that the manifest names"
    if inputs[0].name not in INPUT_NAMES:
        return f"its input is {inputs[0].name!r}, a core's is {' or '.join(INPUT_NAMES)}"
    for value in (*inputs, *graph.output):
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            return f"{value.name} is not float32"
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer):
        return "its weights lie in another file"
    for node in graph.node:
        if node.op_type in _CONTROL_FLOW:
            return f"node {node.name!r} is a {node.op_type}, which a core does not have"
    return None


def _nodes(model: "onnx.ModelProto") -> dict[str, OnnxNode]:
    """Every node by name; output types are inferred where the file does not say."""
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    dequantized = {
        name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    types = {
        value.name: TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        for value in (*graph.value_info, *graph.output)
    }
    return {
        node.name: OnnxNode(
            op_type=node.op_type,
            dtype=_TYPE_NAMES.get(types.get(node.output[0], ""), ""),
            quantized=node.op_type in _WEIGHTED and dequantized.issuperset(node.input[:2]),
        )
        for node in graph.node
    }
