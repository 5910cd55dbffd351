"""Parts of a network that differ in nothing but their weights: one is traced for all of them.

Tracing takes most of an export's time. A module names such parts in `alike = ("first", "second")`:
each takes tensors and gives as many, of the same shapes and dtypes. What is no parameter or buffer
of a part is the same in all.
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

    def forward(self, *given: Tensor) -> Any:
        return self.get_submodule(self.name)(*given)


class _Placeholder(nn.Module):
    """A part as one operator, which `insert` replaces."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, ...]:
        made = torch.onnx.ops.symbolic_multi_out(
            f"{_DOMAIN}::{_OPERATOR}",
            given,
            {"path": self.path},
            dtypes=[x.dtype for x in given],
            shapes=[x.shape for x in given],
            version=1,
        )
        return made[0] if len(made) == 1 else tuple(made)


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


def given_to(
    part: Part, traced: torch.export.ExportedProgram
) -> tuple[tuple[Tensor, ...], list[tuple[int, ...]]]:
    """An example of what a part takes in a trace of the whole, and the dynamic axes of each."""
    nodes = (n for n in traced.graph.nodes if n.kwargs.get("attr_strs") == [part.path])
    examples, axes = [], []
    for node in next(nodes).args[0]:
        given: Any = node.meta["val"]
        hints = [size if isinstance(size, int) else size.node.hint for size in given.shape]
        examples.append(torch.randn(hints).to(given.dtype))
        axes.append(tuple(i for i, size in enumerate(given.shape) if not isinstance(size, int)))
    return tuple(examples), axes


def insert(whole: ir.Model, traced: ir.Model, parts: Sequence[Part]) -> None:
    """Put the graph of the first part, with the weights of each, in the places of all; in place."""
    places = {
        node.attributes["path"].as_string(): node
        for node in whole.graph
        if (node.domain, node.op_type) == (_DOMAIN, _OPERATOR)
    }
    sized: dict[tuple[str, ...], Sequence[ir.Value]] = {}
    for part in parts:
        node, graph = places[part.path], traced.graph.clone()
        given = [value for value in node.inputs if value is not None]
        _become(graph, parts[0], part, _sizes(graph.inputs, given))
        # Parts of one size take it from the same tensors, so that its arithmetic is done once.
        alike = sized.setdefault(tuple(str(value.shape) for value in given), given)
        for taken, size_of in zip(graph.inputs, alike, strict=True):
            for shape in [user for user in taken.consumers() if user.op_type == "Shape"]:
                shape.replace_input_with(0, size_of)
        _put(whole.graph, node, graph, given)
    whole.opset_imports.pop(_DOMAIN, None)


def _put(whole: ir.Graph, node: ir.Node, graph: ir.Graph, given: Sequence[ir.Value]) -> None:
    """Put a graph in the place of a node, whose inputs it takes."""
    weights, nodes, made = list(graph.initializers.values()), list(graph), list(graph.outputs)
    graph.initializers.clear()
    graph.remove(nodes)
    graph.outputs.clear()
    for weight in weights:
        whole.register_initializer(weight)
    outer = dict(zip(graph.inputs, given, strict=True))
    replace_all_uses_with(list(outer), list(outer.values()))
    outputs = dict(zip(node.outputs, made, strict=True))
    for output in [output for output, value in outputs.items() if value in outer]:
        output.replace_all_uses_with(outer[outputs.pop(output)])  # given as it is taken
    old, new = list(outputs), list(outputs.values())
    replace_nodes_and_values(whole, node, [node], nodes, old, new)


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


def _sizes(inner: Sequence[ir.Value], outer: Sequence[ir.Value]) -> dict[str, str]:
    """What the symbols in the shapes of the ones are in the shapes of the others."""
    sizes = {}
    for a, b in zip(inner, outer, strict=True):
        assert a.shape is not None
        assert b.shape is not None
        pairs = zip(a.shape, b.shape, strict=True)
        sizes.update({str(x.value): str(y) for x, y in pairs if isinstance(x, ir.SymbolicDim)})
    return sizes


def _renamed(size: int | ir.SymbolicDim, sizes: dict[str, str]) -> int | ir.SymbolicDim:
    if isinstance(size, int):
        return size
    renamed = re.sub(r"[a-zA-Z_]\w*", lambda m: sizes.get(m[0], m[0]), str(size.value))
    return ir.SymbolicDim(renamed)
