import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frcrn_export.exporters.onnx_export import Graph, onnx_from_graph
from frcrn_export.runtime.bundle.manifest import TensorSpec


class Small(nn.Module):
    """Has what a clean graph should not show: a pad, a constant sum, an unused layer, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 5)
        self.unused = nn.Linear(100, 100)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(F.pad(x, (4, 0))) + 1e-8
        return self.dropout(y) * (torch.ones(3, 1) + torch.ones(3, 1))


def small_graph() -> Graph:
    return Graph(
        Small(),
        torch.randn(2, 2, 40),
        TensorSpec(name="x", dtype="float32", shape=("batch", 2, "samples")),
        TensorSpec(name="y", dtype="float32", shape=("batch", 3, "samples")),
    )


def test_the_graph_is_clean_named_and_dynamic(tmp_path: Path) -> None:
    graph = small_graph()
    model = onnx_from_graph(graph, "small", {"weights": "none"})
    assert sorted({node.op_type for node in model.graph.node}) == ["Add", "Conv", "Mul"]
    assert sum(np.prod(tensor.dims) for tensor in model.graph.initializer) < 100
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"x": ["batch", 2, "samples"], "y": ["batch", 3, "samples"]}
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "weights": "none",
    }
    assert (model.graph.name, model.producer_name) == ("small", "frcrn-export")
    onnx.checker.check_model(model, full_check=True)
    assert str(Path(__file__).parent).encode() not in model.SerializeToString()


def test_it_computes_what_the_module_does_in_eval_mode() -> None:
    graph = small_graph()
    graph.module.train()
    session = onnxruntime.InferenceSession(onnx_from_graph(graph, "small", {}).SerializeToString())
    for batch, samples in ((1, 7), (5, 100)):
        x = torch.randn(batch, 2, samples)
        (y,) = session.run(None, {"x": x.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(y, graph.module.eval()(x), atol=1e-6)


def test_pytorch_warns_of_nothing_while_it_exports(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        onnx_from_graph(small_graph(), "small", {})
    assert not [r for r in caplog.records if r.name.startswith("torch.onnx") and r.levelno > 20]
