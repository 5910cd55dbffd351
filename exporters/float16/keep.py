"""A float16 graph in which some layers compute in float32."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from frcrn_export.exporters.float16.graph import Float16Graph
from frcrn_export.exporters.float16.rounding import node_to_float32
from frcrn_export.exporters.graph_edits import copy_of, replace_nodes
from frcrn_export.runtime.arrays import Float32Array

_SUFFIX = ".float32"


def keep_in_float32(
    graph: Float16Graph, exact: Mapping[str, Float32Array], kept: Collection[int]
) -> onnx.ModelProto:
    """The graph with the layers of these indices in float32, with their `exact` constants.

    A value between two such layers stays in float32. Casts stand where a value changes between a
    layer in float32 and one in float16, as strongly typed TensorRT networks need it.
    """
    return _Kept(graph, exact, frozenset(kept)).model()


class _Kept:
    def __init__(
        self, graph: Float16Graph, exact: Mapping[str, Float32Array], kept: frozenset[int]
    ) -> None:
        self._graph, self._exact, self._kept = graph, exact, kept
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}
        self._wide: dict[str, str] = {}  # float16 tensors that exist in float32, under this name
        self._renamed: dict[str, str] = {}

    def model(self) -> onnx.ModelProto:
        copied = copy_of(self._graph.model)
        results = {value.name for value in copied.graph.output}
        narrow = self._read_in_float16(copied.graph)
        for node, owner in zip(copied.graph.node, self._graph.owners, strict=True):
            self._take_renamed(node)
            if owner in self._kept:
                self._widen(node, narrow)
            elif node.op_type == "Cast":
                self._cast(node, results)
            else:
                for place, name in enumerate(node.input):
                    if node.op_type == "Shape":  # of either
                        node.input[place] = self._wide.get(name, name)
                self._nodes.append(node)
        nodes = _without_unused(self._nodes, results)
        replace_nodes(copied.graph, nodes, self._constants)
        onnx.checker.check_model(copied, full_check=True)
        return copied

    def _read_in_float16(self, graph: onnx.GraphProto) -> set[str]:
        """The float16 tensors that nodes outside the kept layers read, or the graph returns."""
        read = {value.name for value in graph.output}
        for node, owner in zip(graph.node, self._graph.owners, strict=True):
            if owner not in self._kept and node.op_type not in ("Cast", "Shape"):
                read.update(node.input)
        return read.intersection(self._graph.tensors)

    def _take_renamed(self, node: onnx.NodeProto) -> None:
        for place, name in enumerate(node.input):
            node.input[place] = self._renamed.get(name, name)

    def _widen(self, node: onnx.NodeProto, narrow: Collection[str]) -> None:
        """A node of a kept layer."""
        node_to_float32(node, {})
        for place, name in enumerate(node.input):
            if name in self._graph.constants:
                node.input[place] = f"{name}{_SUFFIX}"
                self._constants[f"{name}{_SUFFIX}"] = self._exact[name]
            elif name in self._graph.tensors:
                if name not in self._wide:
                    self._wide[name] = f"{name}{_SUFFIX}"
                    self._nodes.append(_cast(name, f"{name}{_SUFFIX}", TensorProto.FLOAT))
                node.input[place] = self._wide[name]
        after: list[onnx.NodeProto] = []
        for place, name in enumerate(node.output):
            if name in self._graph.tensors:
                node.output[place] = self._wide[name] = f"{name}{_SUFFIX}"
                if name in narrow:
                    after.append(_cast(f"{name}{_SUFFIX}", name, TensorProto.FLOAT16))
        self._nodes += [node, *after]

    def _cast(self, node: onnx.NodeProto, results: Collection[str]) -> None:
        """A cast of the network's own, to float16 or from it."""
        given, made = node.input[0], node.output[0]
        to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
        if given in self._wide and to == TensorProto.FLOAT:
            if made in results:
                self._nodes.append(helper.make_node("Identity", [self._wide[given]], [made]))
            else:
                self._renamed[made] = self._wide[given]
            return
        if given in self._wide:  # to another type
            node.input[0] = self._wide[given]
        elif to == TensorProto.FLOAT16 and given in self._graph.float32.union(self._wide.values()):
            self._wide[made] = given
        self._nodes.append(node)


def _cast(source: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"cast {result}", to=to)


def _without_unused(nodes: list[onnx.NodeProto], results: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes that something reads; the network's own casts to float16 may have lost readers."""
    read = set(results)
    used = []
    for node in reversed(nodes):
        if node.op_type != "Cast" or not read.isdisjoint(node.output):
            used.append(node)
            read.update(node.input)
    return used[::-1]
