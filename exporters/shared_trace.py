"""Parts of a network that differ in nothing but their weights: one is traced for all of them.

Tracing takes most of an export's time. A module names such parts in `alike = ("first", "second")`:
each takes one tensor and gives one of the same shape and dtype. What is no parameter or buffer of a
part is the same in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.convenience import replace_all_uses_with, replace_nodes_and_values
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor, nn

from frcrn_export.exporters.graph_layers import SCOPES

_DOMAIN, _OPERATOR = "frcrn_export", "Part"


@dataclass(frozen=True)
class Part:
    """A part of a module tree, by its path in it: `unet`, or `core.unet`."""

    path: str
    module: nn.Module

    def alone(self) -> nn.Module:
        """A module that computes what the part does, which has the same path in it."""
        whole = self.module
        for name in reversed(self.path.split(".")):
            whole = _Around(name, whole)
        return whole


class _Around(nn.Module):
    def __init__(self, name: str, part: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self.name)(x)
        return y


class _Placeholder(nn.Module):
    """A part as one operator, which `insert` replaces."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return torch.onnx.ops.symbolic(
            f"{_DOMAIN}::{_OPERATOR}",
            (x,),
            {"path": self.path},
            dtype=x.dtype,
            shape=x.shape,
            version=1,
        )


@contextmanager
def set_aside(module: nn.Module) -> Iterator[list[list[Part]]]:
    """Within it, operators stand where a module tree has alike parts; these, in groups."""
    groups = [
        [Part(f"{path}.{name}".lstrip("."), parent.get_submodule(name)) for name in alike]
        for path, parent in module.named_modules()
        if (alike := getattr(parent, "alike", ()))
    ]
    parts = [part for group in groups for part in group]
    try:
        for part in parts:
            module.set_submodule(part.path, _Placeholder(part.path))
        yield groups
    finally:
        for part in parts:
            module.set_submodule(part.path, part.module)


def given_to(part: Part, traced: torch.export.ExportedProgram) -> tuple[Tensor, tuple[int, ...]]:
    """An example of what a part takes in a trace of the whole, and its dynamic axes."""
    nodes = (n for n in traced.graph.nodes if n.kwargs.get("attr_strs") == [part.path])
    given: Any = next(nodes).args[0][0].meta["val"]
    dynamic = tuple(axis for axis, size in enumerate(given.shape) if not isinstance(size, int))
    sizes = [size.node.hint if axis in dynamic else size for axis, size in enumerate(given.shape)]
    return torch.randn(sizes).to(given.dtype), dynamic


def insert(whole: ir.Model, traced: ir.Model, parts: Sequence[Part]) -> None:
    """Put the graph of the first part, with the weights of each, in the places of all; in place."""
    places = {
        node.attributes["path"].as_string(): node
        for node in whole.graph
        if (node.domain, node.op_type) == (_DOMAIN, _OPERATOR)
    }
    sized: dict[str, ir.Value] = {}
    for part in parts:
        node, graph = places[part.path], traced.graph.clone()
        (given,), (taken,) = node.inputs, graph.inputs
        assert given is not None
        _become(graph, parts[0], part, _sizes(taken, given))
        # Parts of one size take it from the same tensor, so that its arithmetic is done once.
        size_of = sized.setdefault(str(given.shape), given)
        for shape in [user for user in taken.consumers() if user.op_type == "Shape"]:
            shape.replace_input_with(0, size_of)
        replace_all_uses_with(taken, given)
        weights = list(graph.initializers.values())
        graph.initializers.clear()
        for weight in weights:
            whole.graph.register_initializer(weight)
        nodes, outputs = list(graph), list(graph.outputs)
        graph.remove(nodes)
        replace_nodes_and_values(whole.graph, node, [node], nodes, node.outputs, outputs)
    whole.opset_imports.pop(_DOMAIN, None)


def _become(graph: ir.Graph, first: Part, part: Part, sizes: dict[str, str]) -> None:
    """Give the copied graph of the first part the weights, names and sizes of another."""
    module = part.module
    named = (module.named_parameters, module.named_buffers)
    weights = dict(chain.from_iterable(names(remove_duplicate=False) for names in named))
    for value in list(graph.initializers.values()):
        assert value.name is not None
        assert value.const_value is not None
        name = value.name.removeprefix(f"{first.path}.")
        if name in weights:
            value.const_value = TorchTensor(weights[name], value.name)
        else:  # a constant, which the copies share
            value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
        value.name = f"{part.path}.{name}"

    scope = re.compile(rf"'{re.escape(first.path)}(?=['.])")
    nodes = list(graph.all_nodes())
    inner = [value for each in graph.subgraphs() for value in each.inputs]
    for node in nodes:
        node.name = f"{part.path}.{node.name}"
        if SCOPES in node.metadata_props:
            node.metadata_props[SCOPES] = scope.sub(f"'{part.path}", node.metadata_props[SCOPES])
    for value in (*inner, *(value for node in nodes for value in node.outputs)):
        value.name = f"{part.path}.{value.name}"
        if value.shape is not None:
            value.shape = ir.Shape(_renamed(size, sizes) for size in value.shape)


def _sizes(inner: ir.Value, outer: ir.Value) -> dict[str, str]:
    """What the symbols in the shape of the one are in the shape of the other."""
    assert inner.shape is not None
    assert outer.shape is not None
    pairs = zip(inner.shape, outer.shape, strict=True)
    return {str(a.value): str(b) for a, b in pairs if isinstance(a, ir.SymbolicDim)}


def _renamed(size: int | ir.SymbolicDim, sizes: dict[str, str]) -> int | ir.SymbolicDim:
    if isinstance(size, int):
        return size
    renamed = re.sub(r"[a-zA-Z_]\w*", lambda m: sizes.get(m[0], m[0]), str(size.value))
    return ir.SymbolicDim(renamed)
