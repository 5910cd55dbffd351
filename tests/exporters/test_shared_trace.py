from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from frcrn_export.exporters.graph_layers import graph_layers
from frcrn_export.exporters.onnx_export import Graph, onnx_from_graph, onnx_from_module
from frcrn_export.runtime.bundle.manifest import TensorSpec

CHANNELS = 3


class Part(nn.Module):
    """Has what a graph can depend on: weights, a buffer, a constant, and sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
        self.gain = nn.Buffer(torch.randn(1, CHANNELS, 1), persistent=False)
        self.called: Callable[[], None] = lambda: None

    def forward(self, x: Tensor) -> Tensor:
        self.called()
        B, C, T = x.shape
        y = self.conv(x) * self.gain + torch.tensor([1.5, 2.5, 3.5])[:, None]
        y = torch.cat((y.reshape(B, C * T, 1), x.reshape(B, C * T, 1)), dim=2)
        return y.reshape(B, C, 2 * T)[..., :T]


class Whole(nn.Module):
    alike = ("first", "second")

    def __init__(self) -> None:
        super().__init__()
        self.first = Part()
        self.between = nn.Conv1d(CHANNELS, CHANNELS, 1)
        self.second = Part()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(torch.relu(self.first(x)))
        return self.between(y) + x


class WithoutSharing(Whole):
    alike = ()


class Around(nn.Module):
    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.core(x)


class Step(nn.Module):
    """Takes a tensor, one that it leaves as it is, and a state of another size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, CHANNELS, 3)

    def forward(self, x: Tensor, gain: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = torch.cat((past, x), dim=2)
        return self.conv(joined) * gain, gain, joined[..., -2:]


class Steps(nn.Module):
    alike = ("first", "second")

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Step(), Step()

    def forward(self, x: Tensor, gain: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        y, gain, a = self.first(x, gain, a)
        y, _, b = self.second(y, gain, b)
        return y, a, b


def exported(module: nn.Module) -> onnx.ModelProto:
    shape = ("batch", CHANNELS, "frames")
    tensors = (TensorSpec(name=name, dtype="float32", shape=shape) for name in ("x", "y"))
    return onnx_from_graph(Graph(module, torch.randn(2, CHANNELS, 5), *tensors), "whole", {})


@pytest.mark.parametrize("nested", [False, True])
def test_it_computes_what_the_module_does_at_any_size(nested: bool) -> None:
    module = Around(Whole()) if nested else Whole()
    session = onnxruntime.InferenceSession(exported(module).SerializeToString())
    for batch, frames in ((1, 1), (3, 8)):
        x = torch.randn(batch, CHANNELS, frames)
        with torch.inference_mode():
            expected = module(x).numpy()
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=1e-5)


def test_parts_of_several_tensors() -> None:
    module = Steps()
    sizes = {"x": (CHANNELS, 4), "gain": (1, 1), "a": (CHANNELS, 2), "b": (CHANNELS, 2)}
    tensors = [
        TensorSpec(name=name, dtype="float32", shape=("batch", *size))
        for name, size in (*sizes.items(), *((f"next_{n}", sizes[n]) for n in ("x", "a", "b")))
    ]
    examples = tuple(torch.randn(2, *size) for size in sizes.values())
    model = onnx_from_module(module, examples, tuple(tensors[:4]), tuple(tensors[4:]), "steps", {})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = [torch.randn(3, *size) for size in sizes.values()]
    with torch.inference_mode():
        expected = module(*given)
    feeds = {name: x.numpy() for name, x in zip(sizes, given, strict=True)}
    for name, x in zip(("next_x", "next_a", "next_b"), expected, strict=True):
        np.testing.assert_allclose(session.run([name], feeds)[0], x, atol=1e-5)


def test_one_of_the_parts_is_traced() -> None:
    module, calls = Whole(), list[str]()
    module.first.called = partial(calls.append, "first")
    module.second.called = partial(calls.append, "second")
    exported(module)
    assert set(calls) == {"first"}


def test_the_graph_is_that_of_an_export_without_sharing() -> None:
    module = WithoutSharing()
    without = exported(module)
    module.__class__ = Whole
    shared = exported(module)
    operators = [Counter(node.op_type for node in m.graph.node) for m in (without, shared)]
    assert operators[0] == operators[1]
    layers = [{layer.name for layer in graph_layers(m)} for m in (without, shared)]
    assert layers[0] == layers[1] == {"first.conv", "between", "second.conv"}
    assert len(without.graph.initializer) == len(shared.graph.initializer)
    assert [entry.domain for entry in shared.opset_import] == [""]


def test_sizes_within_a_part_are_those_of_the_whole() -> None:
    model = exported(Whole())
    sizes = {
        dim.dim_param
        for value in model.graph.value_info
        for dim in value.type.tensor_type.shape.dim
        if dim.dim_param
    }
    free = {size for size in sizes if size.isidentifier()}
    assert len(free) == 2, sizes


def test_the_module_is_whole_again_after_an_export_that_fails() -> None:
    class Fails(Whole):
        def forward(self, x: Tensor) -> Tensor:
            if super().forward(x).sum() > 0:  # no graph has this
                return x
            return 2 * x

    module = Fails()
    parts = (module.first, module.second)
    with pytest.raises(Exception, match="data-dependent"):
        exported(module)
    assert (module.first, module.second) == parts
