"""A CausalLongUNet as ONNX: what it does to a piece is exported, and made the body of a Scan.

PyTorch exports a scan too, but traces its body five times and takes three times as long.
"""

from collections.abc import Mapping
from string import Template

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from frcrn_export.exporters.families.frcrn.long_causal import CausalLongUNet, Pieces
from frcrn_export.exporters.families.frcrn.scans import prefix_names
from frcrn_export.exporters.onnx_export import onnx_from_module
from frcrn_export.runtime.bundle.manifest import TensorSpec

_EXAMPLE_PIECES = 3

# What comes after the pieces, the states of silence and the Scan.
_AROUND = """
    <ir_version: $IR, opset_import: ["": $OPSET]>
    unet (float[1, 2, frames, $BINS] spec) => (float[1, 2, frames, $BINS] enhanced)
    <int64[4] shape = {1, 2, -1, $BINS}, int64[1] depth = {$DEPTH}, int64[1] time = {2}> {
        turned = Transpose <perm = [1, 2, 0, 3, 4]> (each_enhanced)
        joined = Reshape (turned, shape)
        frames = Shape <start = 2, end = 3> (spec)
        end = Add (frames, depth)
        enhanced = Slice (joined, depth, end, time)
    }
"""


def piece_model(unet: CausalLongUNet, name: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """What the U-Net does to a piece: states and the piece to next states and the output."""
    piece = torch.randn(1, 2, unet.piece, unet.bins)
    stage = torch.ones(len(unet.places), 1, unet.piece, 1)
    states = {f"state{i}": torch.zeros(1, *shape) for i, shape in enumerate(unet.states)}
    given = {**states, "piece": piece, "inside": stage, "count": stage.clone()}
    made = {**{f"next_{state}": value for state, value in states.items()}, "enhanced": piece}
    inputs, outputs = (
        tuple(_tensor(each, tuple(value.shape)) for each, value in values.items())
        for values in (given, made)
    )
    return onnx_from_module(unet, tuple(given.values()), inputs, outputs, name, metadata)


def pieces_model(unet: CausalLongUNet) -> onnx.ModelProto:
    """An utterance cut into pieces."""
    frames = _EXAMPLE_PIECES * unet.piece - unet.depth - 3
    example = torch.randn(1, 2, frames, unet.bins)
    stages = ("pieces", len(unet.places), 1, unet.piece, 1)
    pieces = _tensor("pieces", ("pieces", 1, 2, unet.piece, unet.bins))
    outputs = (pieces, _tensor("inside", stages), _tensor("count", stages))
    spec = _tensor("spec", (1, 2, "frames", unet.bins))
    return onnx_from_module(Pieces(unet), (example,), (spec,), outputs, "pieces", {})


def over_pieces(
    pieces: onnx.ModelProto, piece: onnx.ModelProto, unet: CausalLongUNet
) -> onnx.ModelProto:
    """The U-Net for whole utterances, `spec` to `enhanced`: a Scan over the pieces."""
    opset = next(entry.version for entry in piece.opset_import if entry.domain == "")
    whole = onnx.ModelProto()
    whole.CopyFrom(piece)
    text = Template(_AROUND).substitute(
        IR=piece.ir_version, OPSET=opset, BINS=unet.bins, DEPTH=unet.depth
    )
    graph = onnx.parser.parse_model(text).graph
    graph.name = piece.graph.name
    first, body = onnx.GraphProto(), onnx.GraphProto()
    first.CopyFrom(pieces.graph)
    body.CopyFrom(piece.graph)
    prefix_names(first, "cut_")
    prefix_names(body, "piece_")

    given = helper.make_node("Identity", ["spec"], ["cut_spec"])
    silence, states = [], [f"silence{i}" for i in range(len(unet.states))]
    for state, shape in zip(states, unet.states, strict=True):
        sizes = numpy_helper.from_array(np.array([1, *shape], np.int64), f"{state}.shape")
        graph.initializer.append(sizes)
        silence.append(helper.make_node("ConstantOfShape", [sizes.name], [state]))
    scan = helper.make_node(
        "Scan",
        [*states, *(value.name for value in first.output)],
        [*(f"last_{state}" for state in states), "each_enhanced"],
        body=body,
        num_scan_inputs=len(first.output),
    )
    nodes = [given, *first.node, *silence, scan, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(first.initializer)
    graph.value_info.extend(first.value_info)
    whole.graph.CopyFrom(graph)
    return whole


def _tensor(name: str, shape: tuple[int | str, ...]) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)
