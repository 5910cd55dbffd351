"""`core.long.onnx`: the core of FRCRN for long utterances, in far less memory than `core.onnx`.

The two U-Nets differ in nothing but their weights: one is exported, and its graph used twice.
"""

from collections.abc import Mapping
from functools import partial
from string import Template

import onnx
import torch
from onnx.numpy_helper import from_array

from frcrn_export.exporters.families.frcrn.long import PIECE_FRAMES, LongUNet
from frcrn_export.exporters.families.frcrn.long_causal import CausalLongUNet
from frcrn_export.exporters.families.frcrn.long_causal_core import (
    over_pieces,
    piece_model,
    pieces_model,
)
from frcrn_export.exporters.families.frcrn.lowered import LoweredFrcrn
from frcrn_export.exporters.families.frcrn.network import FRCRN
from frcrn_export.exporters.families.frcrn.scans import prefix_names, weights_into_scans
from frcrn_export.exporters.family import ExtraCore, ModelSpec
from frcrn_export.exporters.onnx_export import Graph, onnx_from_graph
from frcrn_export.runtime.bundle.manifest import TensorSpec

UNets = tuple[onnx.ModelProto, onnx.ModelProto]

# Up to here (5 s) core.onnx takes half a gigabyte at most, and is faster.
LONG_ABOVE_FRAMES = 256
_EXAMPLE_FRAMES = 2 * PIECE_FRAMES + 5  # three pieces

# LoweredFrcrn.forward; the U-Nets come after the first node.
_AROUND = """
    <ir_version: $IR, opset_import: ["": $OPSET]>
    core (float[1, 2, $BINS, frames] spec) => (float[1, 2, $BINS, frames] enhanced)
    <int64[2] parts = {1, 1}> {
        first_spec = Transpose <perm = [0, 1, 3, 2]> (spec)
        first_tanh = Tanh (first_enhanced)
        second_tanh = Tanh (second_enhanced)
        turned_mask = Add (first_tanh, second_tanh)
        mask = Transpose <perm = [0, 1, 3, 2]> (turned_mask)
        mask_re, mask_im = Split <axis = 1> (mask, parts)
        re, im = Split <axis = 1> (spec, parts)
        re_re = Mul (mask_re, re)
        im_im = Mul (mask_im, im)
        re_im = Mul (mask_re, im)
        im_re = Mul (mask_im, re)
        enhanced_re = Sub (re_re, im_im)
        enhanced_im = Add (re_im, im_re)
        enhanced = Concat <axis = 1> (enhanced_re, enhanced_im)
    }
"""


def long_cores(spec: ModelSpec, network: FRCRN) -> tuple[ExtraCore, ...]:
    """The core for long utterances."""
    core = ExtraCore(
        role="core_long",
        above_frames=LONG_ABOVE_FRAMES,
        # Less than a piece, and more than four of them.
        parity_frames=(9, 4 * PIECE_FRAMES + 22),
        export=partial(_export, network),
    )
    return (core,)


def _export(network: FRCRN, name: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Export and check the core for long utterances. Raises as `onnx_from_graph` does."""
    lowered = LoweredFrcrn(network, fast=False).eval()  # its point is to be small
    if network.config.pooling == "global":
        first, second = _global(lowered, network.config.bins, name, metadata)
    else:
        first, second = _causal(lowered, network.config.bins, name, metadata)
    whole = _joined(first, second, network.config.bins)
    weights_into_scans(whole.graph)
    whole.doc_string = f"{name}: spec -> enhanced"
    onnx.checker.check_model(whole, full_check=True)
    return whole


def _global(lowered: LoweredFrcrn, bins: int, name: str, metadata: Mapping[str, str]) -> UNets:
    """Both U-Nets, [1, 2, T, F] to the same shape."""
    shape = (1, 2, "frames", bins)
    graph = Graph(
        LongUNet(lowered.unet, PIECE_FRAMES),
        torch.randn(1, 2, _EXAMPLE_FRAMES, bins),
        TensorSpec(name="spec", dtype="float32", shape=shape),
        TensorSpec(name="enhanced", dtype="float32", shape=shape),
    )
    first = onnx_from_graph(graph, name, metadata)
    return first, _with_weights(first, LongUNet(lowered.unet2, PIECE_FRAMES))


def _causal(lowered: LoweredFrcrn, bins: int, name: str, metadata: Mapping[str, str]) -> UNets:
    """The same where squeeze-and-excitation is causal."""
    unet, unet2 = (CausalLongUNet(u, PIECE_FRAMES, bins) for u in (lowered.unet, lowered.unet2))
    pieces, piece = pieces_model(unet), piece_model(unet, name, metadata)
    second = _with_weights(piece, unet2)
    return over_pieces(pieces, piece, unet), over_pieces(pieces, second, unet2)


def _with_weights(model: onnx.ModelProto, module: torch.nn.Module) -> onnx.ModelProto:
    """A copy of an exported graph with the weights of another module of the same kind."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    weights = module.state_dict()
    for tensor in other.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(from_array(weights[tensor.name].numpy(), tensor.name))
    return other


def _joined(first: onnx.ModelProto, second: onnx.ModelProto, bins: int) -> onnx.ModelProto:
    opset = next(entry.version for entry in first.opset_import if entry.domain == "")
    text = Template(_AROUND).substitute(IR=first.ir_version, OPSET=opset, BINS=bins)
    graph = onnx.parser.parse_model(text).graph
    turn, *mask = graph.node
    prefix_names(first.graph, "first_")
    prefix_names(second.graph, "second_")
    link = onnx.helper.make_node("Identity", ["first_enhanced"], ["second_spec"])
    nodes = [turn, *first.graph.node, link, *second.graph.node, *mask]
    del graph.node[:]
    graph.node.extend(nodes)
    for unet in (first.graph, second.graph):
        graph.initializer.extend(unet.initializer)
        graph.value_info.extend(unet.value_info)
    graph.name = first.graph.name
    whole = onnx.ModelProto()
    whole.CopyFrom(first)
    whole.graph.CopyFrom(graph)
    return whole
