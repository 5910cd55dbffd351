"""A check of ONNX files without a library: what an untrusted file must not contain.

ONNX is protobuf; only the fields that lead to nodes and tensors are read. Refused are nodes that
can run for ever, compiled code, and data outside the file, which the manifest's hash does not
cover; no file that we export has any of them. What remains terminates: the sizes in it bound its
steps.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES = 10
# Parsers keep 32 bits of a key, so a larger one may be another field to them.
_MOST_KEY = 2**32 - 1
_MOST_BYTES = 2**31 - 1  # of a protobuf message
_MOST_NODES = 100_000  # of all graphs in a file; the largest of ours have some thousands

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_TENSOR_EXTERNAL = 13


class _ForeignError(Exception):
    """A file contains something that none of ours does."""


def foreign_part(path: Path) -> str | None:
    """What an ONNX file contains and must not, or None.

    Raises ValueError for bytes that are not protobuf, OSError, and RecursionError for a file that
    is nested too deeply.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError("larger than 2 GB")
    try:
        for number, value in _fields(memoryview(path.read_bytes())):
            if number == _MODEL_FUNCTIONS:
                return "functions of its own"
            if number == _MODEL_GRAPH:
                _check_graph(value, in_scan=False, nodes=count(1))
    except _ForeignError as found:
        return str(found)
    return None


def _check_graph(graph: memoryview, *, in_scan: bool, nodes: Iterator[int]) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            if next(nodes) > _MOST_NODES:
                raise _ForeignError(f"more than {_MOST_NODES} nodes")
            _check_node(value, in_scan=in_scan, nodes=nodes)
        elif number == _GRAPH_TENSOR:
            _check_tensor(value)
        elif number == _GRAPH_SPARSE:
            _check_sparse(value)


def _check_node(node: memoryview, *, in_scan: bool, nodes: Iterator[int]) -> None:
    operator, graphs = "", []
    for number, value in _fields(node):
        if number == _NODE_OPERATOR:
            operator = bytes(value).decode()
        elif number == _NODE_ATTRIBUTE:
            for kind, part in _fields(value):
                if kind in _ATTRIBUTE_GRAPHS:
                    graphs.append(part)
                elif kind in _ATTRIBUTE_TENSORS:
                    _check_tensor(part)
                elif kind in _ATTRIBUTE_SPARSE:
                    _check_sparse(part)
    if operator == "EPContext":
        raise _ForeignError("a node EPContext, which is compiled code")
    # A Scan takes as many steps as its input has rows; nested Scans take the product.
    if graphs and operator != "If" and (operator != "Scan" or in_scan):
        raise _ForeignError(f"a node {operator}{' in a Scan' * in_scan}, which may never end")
    for graph in graphs:
        _check_graph(graph, in_scan=in_scan or operator == "Scan", nodes=nodes)


def _check_tensor(tensor: memoryview) -> None:
    for number, _ in _fields(tensor):
        if number == _TENSOR_EXTERNAL:
            raise _ForeignError("weights that lie in another file")


def _check_sparse(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number in _SPARSE_TENSORS:
            _check_tensor(value)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message: field number and content, empty unless length-delimited."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind, size = key & 7, 0
        if key > _MOST_KEY:
            raise ValueError("not an ONNX file")
        if kind == _VARINT:
            _, position = _varint(message, position)
        elif kind == _BYTES:
            size, position = _varint(message, position)
        elif kind in _FIXED_BYTES:
            position += _FIXED_BYTES[kind]
        else:
            raise ValueError("not an ONNX file")
        if position + size > len(message):
            raise ValueError("truncated")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = 0
    for index, byte in enumerate(message[position : position + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("truncated")
