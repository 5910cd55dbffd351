"""Edits of ONNX graphs: copying, and replacing nodes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx
from onnx import numpy_helper


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """An independent copy of a model."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def replace_nodes(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], added: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Replace a graph's nodes by these, in this order, and add constants.

    Removes unused constants, and shapes of tensors that no longer exist.
    """
    _replace(graph.node, nodes)
    used = {name for node in nodes for name in node.input}
    there = used | {name for node in nodes for name in node.output}
    _replace(graph.initializer, [value for value in graph.initializer if value.name in used])
    _replace(graph.value_info, [value for value in graph.value_info if value.name in there])
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in added.items())


def _replace(field: Any, values: Iterable[Any]) -> None:
    """Set a repeated field; some of `values` may be in it."""
    del field[:]
    field.extend(values)
