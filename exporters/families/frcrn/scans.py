"""ONNX graphs with scans: names and weights, in the bodies of the scans too."""

from collections.abc import Iterator

import onnx


def weights_into_scans(graph: onnx.GraphProto) -> None:
    """Move every initializer that scans alone read into their bodies, in place.

    ONNX Runtime lays out a convolution's weights ahead, and takes its blocked layout, only where it
    finds them in the graph of the convolution itself; the exporter leaves them all outside. Where
    several scans read one, each gets a copy: of FRCRN's weights that is the first encoder alone.
    """
    bodies = [(body, outer_names(body)) for node in graph.node for body in _bodies(node)]
    inside = set[str]().union(*(names for _, names in bodies))
    outside = {name for node in graph.node for name in node.input}
    outside.update(value.name for value in (*graph.input, *graph.output))
    moved = {t.name: t for t in graph.initializer if t.name in inside - outside}
    for body, names in bodies:
        body.initializer.extend(moved[name] for name in sorted(names & moved.keys()))
    kept = [tensor for tensor in graph.initializer if tensor.name not in moved]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def outer_names(body: onnx.GraphProto) -> set[str]:
    """What a body, or one within it, reads of the graphs around it."""
    own = {value.name for value in (*body.input, *body.initializer)}
    own.update(name for node in body.node for name in node.output)
    read = {value.name for value in body.output}
    for node in body.node:
        read.update(node.input)
        for inner in _bodies(node):
            read |= outer_names(inner)
    return read - own - {""}


def prefix_names(graph: onnx.GraphProto, prefix: str) -> None:
    """Put a prefix before every name in a graph and in the bodies of its scans."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = prefix + value.name
    for node in graph.node:
        node.name = prefix + node.name if node.name else ""
        node.input[:] = [prefix + name if name else "" for name in node.input]
        node.output[:] = [prefix + name if name else "" for name in node.output]
        for body in _bodies(node):
            prefix_names(body, prefix)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
