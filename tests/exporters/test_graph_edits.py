"""Nodes and constants in place of others."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.exporters.graph_edits import copy_of, replace_nodes
from tests.calibration.graphs import masking_network, run, wave


def names(values: Iterable[Any]) -> set[str]:
    return {value.name for value in values}


def test_what_nothing_reads_any_more_goes() -> None:
    model = onnx.shape_inference.infer_shapes(masking_network())
    graph = model.graph
    assert {"encoder.weight", "time"} <= names(graph.initializer)
    assert {"encoder.out", "sum"} <= names(graph.value_info)
    kept = [each for each in graph.node if each.name in ("analysis", "node.shared")]
    kept.append(helper.make_node("Mul", ["shared", "two"], ["twice"]))
    replace_nodes(graph, kept, {"two": np.array(2, np.float32)})
    assert [each.op_type for each in graph.node] == ["Conv", "Relu", "Mul"]
    assert names(graph.initializer) == {"analysis.weight", "analysis.bias", "two"}
    assert names(graph.value_info) == {"analysis.out", "shared"}
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("twice", TensorProto.FLOAT, None))
    once = copy_of(masking_network())
    once.graph.output.insert(0, helper.make_empty_tensor_value_info("shared"))
    np.testing.assert_array_equal(run(model, wave()), 2 * run(once, wave()))


def test_a_copy_changes_nothing() -> None:
    model = masking_network()
    before = model.SerializeToString()
    copied = copy_of(model)
    del copied.graph.node[:]
    copied.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(1), "other"))
    assert model.SerializeToString() == before
