"""ONNX graphs with scans: names and weights, in the bodies of the scans too."""

from collections.abc import Iterator

import onnx


def weights_into_scans(graph: onnx.GraphProto) -> None:
    """Move every initializer that scans read into their bodies, in place.

    ONNX Runtime lays out a convolution's weights ahead, and takes its blocked layout, only where it
    finds them in the graph of the convolution itself; the exporter leaves them all outside. Each
    reader gets a copy. That of the graph gets another name, which no body may define again.
    """
    bodies = [(body, outer_names(body)) for node in graph.node for body in _bodies(node)]
    ends = {value.name for value in (*graph.input, *graph.output)}
    inside = set[str]().union(*(names for _, names in bodies)) - ends
    outside = {name for node in graph.node for name in node.input}
    moved = {t.name: t for t in graph.initializer if t.name in inside}
    for body, names in bodies:
        body.initializer.extend(moved[name] for name in sorted(names & moved.keys()))
    kept = [tensor for tensor in graph.initializer if tensor.name not in moved]
    for name in sorted(outside & moved.keys()):
        copy = onnx.TensorProto()
        copy.CopyFrom(moved[name])
        copy.name = f"{name}.outside"
        kept.append(copy)
    for node in graph.node:
        node.input[:] = [f"{name}.outside" if name in moved else name for name in node.input]
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
