"""The layers of an ONNX graph: convolutions, matrix products and recurrent layers, with names."""

import re
from collections import Counter
from dataclasses import dataclass

import onnx

RECURRENT = ("GRU", "LSTM", "RNN")
LAYER_TYPES = ("Conv", "ConvTranspose", "MatMul", "Gemm", *RECURRENT)

# Where PyTorch's exporter writes the modules around a node: ['', 'encoder', 'encoder.0', 'conv1d'].
SCOPES = "pkg.torch.onnx.name_scopes"
# The weight of a module `encoder.0`, or what a cast or a quantizer makes of it.
_WEIGHT = re.compile(r"(.+)\.weight(?![A-Za-z])")


@dataclass(frozen=True)
class GraphLayer:
    """One layer of a graph.

    `name` is that of its PyTorch module, else of its node; `node` and `output` are names in the
    graph.
    """

    name: str
    op_type: str
    node: str
    output: str


def graph_layers(model: onnx.ModelProto) -> list[GraphLayer]:
    """The layers of a graph, in its order. A module that runs several times is numbered."""
    nodes = [node for node in model.graph.node if node.op_type in LAYER_TYPES and node.output]
    names = [_module(node) or node.name or node.output[0] for node in nodes]
    several = {name for name, count in Counter(names).items() if count > 1}
    seen: Counter[str] = Counter()
    layers = []
    for node, name in zip(nodes, names, strict=True):
        seen[name] += 1
        title = f"{name} #{seen[name]}" if name in several else name
        layers.append(GraphLayer(title, node.op_type, node.name, node.output[0]))
    return layers


def _module(node: onnx.NodeProto) -> str:
    """The path of the innermost PyTorch module around a node, "" where it is not known.

    Its weight tells where the file does not say it.
    """
    scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "")
    inner: list[str] = re.findall(r"'([^']*)'", scopes)[:-1]  # the last one is the operator
    if inner:
        return inner[-1]
    weight = _WEIGHT.match(node.input[1]) if len(node.input) > 1 else None
    return weight[1] if weight else ""
