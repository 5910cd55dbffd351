"""A core that shows where its windows begin: it adds up, from the first value of each call."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from frcrn_export.runtime.bundle.manifest import Manifest
from tests.bundles import core_entry, measured, write_manifest


def write_sum_bundle(path: Path, described: Manifest) -> Path:
    """A bundle whose core gives the sum of all frames (samples) so far, times 1 / 1000."""
    path.mkdir(parents=True)
    entry = core_entry(described.stft)
    given, enhanced = entry.inputs[0], entry.outputs[0]
    graph = helper.make_graph(
        [
            helper.make_node("CumSum", [given.name, "axis"], ["sum"]),
            helper.make_node("Mul", ["sum", "scale"], [enhanced.name]),
        ],
        "sum",
        [helper.make_tensor_value_info(given.name, TensorProto.FLOAT, given.shape)],
        [helper.make_tensor_value_info(enhanced.name, TensorProto.FLOAT, enhanced.shape)],
        [
            helper.make_tensor("axis", TensorProto.INT64, [], np.array([-1])),
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1e-3]),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path / entry.path)
    write_manifest(path, msgspec.structs.replace(described, files=(measured(path, entry),)))
    return path
