"""The work of nodes, and the lint of real engines."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.engines.build import build_plan
from frcrn_export.engines.work import NodeWork, node_work
from frcrn_export.runtime.bundle.layer_lint import lint, said_of
from tests.engines.tiny import BINS, options, tiny_core, tiny_int8_core, tiny_model


def test_multiplications_and_channels_of_convolutions() -> None:
    work = node_work(tiny_model(), {"spec": (3, 2, BINS, 10)})
    assert work == {
        "node_conv2d": NodeWork(3 * 8 * BINS * 10 * 2 * 5, (2, 8)),
        "node_conv2d_1": NodeWork(3 * 2 * BINS * 10 * 8, (8, 2)),
    }


@pytest.mark.parametrize(
    ("operator", "weight", "attributes", "channels"),
    [
        ("Conv", (12, 2, 1), {"group": 4}, (2, 3)),
        ("ConvTranspose", (8, 3, 1), {"group": 2}, (4, 3)),
        ("MatMul", (8, 5), {}, (8, 5)),
        ("Gemm", (8, 5), {}, (8, 5)),
        ("Gemm", (5, 8), {"transB": 1}, (8, 5)),
    ],
)
def test_channels_of_one_group(
    operator: str,
    weight: tuple[int, ...],
    attributes: dict[str, int],
    channels: tuple[int, int],
) -> None:
    node = helper.make_node(operator, ["x", "w"], ["y"], "node", **attributes)
    shape = ["batch", 8] if len(weight) == 2 else ["batch", 8, 4]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weight, np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    found = node_work(model, {"x": (2, *shape[1:])})["node"]  # type: ignore[dict-item]
    assert found.channels == channels
    assert found.multiplications


def test_what_does_not_follow_from_the_shapes_is_unknown() -> None:
    assert node_work(tiny_model(), {})["node_conv2d"].multiplications is None


def test_a_real_engine_is_linted(tmp_path: Path) -> None:
    report = build_plan(tiny_core(tmp_path / "core.onnx"), options()).layers
    findings = lint(report, "fp16")
    assert [each.name for each in findings if each.kind == "channels"] == [
        "node_conv2d",  # 2 input channels
        "node_conv2d_1",  # 2 output channels
    ]
    assert said_of(report, findings, "precision") == "0 layers"
    assert said_of(report, findings, "channels") == "2 layers, 100.0 % of the work"


def test_int8_that_the_builder_does_not_run_is_found(tmp_path: Path) -> None:
    core = tiny_int8_core(tmp_path / "core.int8.onnx")
    turing, ada = (build_plan(core, options(gpu=gpu)).layers for gpu in ("t4", "l4"))
    outside = [
        {each.name: each.detail for each in lint(report, "int8") if each.kind == "precision"}
        for report in (turing, ada)
    ]
    fell = "the file quantizes it, the builder runs it in Half"
    assert outside[0] == {"node_conv2d": "Half in the file", "node_conv2d_1": fell}
    assert outside[1] == {"node_conv2d": "Half in the file"}


def test_float32_layers_of_a_float16_engine_are_found(tmp_path: Path) -> None:
    report = build_plan(tiny_core(tmp_path / "core.onnx", fp16=False), options()).layers
    assert said_of(report, lint(report, "fp16"), "precision") == "2 layers, 100.0 % of the work"
