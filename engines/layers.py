"""Parsing the builder's description of an engine: one line for each layer, then the I/O."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from frcrn_export.runtime.bundle.layer_report import (
    EngineLayer,
    IoTensor,
    LayerReport,
    LayerTensor,
    OnnxNode,
)
from frcrn_export.runtime.bundle.manifest import Profile

LAYERS_PREFIX = "Layers:"

_TENSOR = re.compile(r"\{ Name: (?P<name>.*?)(?:, (?P<fields>[^{}]*?))?\s*\}")
_FIELD = re.compile(r"(?:^|, )(?P<key>[A-Z][\w/]*): (?P<value>\[[^\]]*\]|.*?)(?=, [A-Z][\w/]*: |$)")
_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_PROFILE = re.compile(
    r"MinShape: \[([\d,]*)\], OptShape: \[([\d,]*)\], MaxShape: \[([\d,]*)\]", re.ASCII
)
# Older releases say type and layout in one field, "Row major linear FP16 format" or "Half NHWC".
_SPELLINGS = {"FP32": "Float", "FP16": "Half", "INT8": "Int8", "BF16": "BFloat16", "INT32": "Int32"}
_OLD_TYPE = re.compile(r"\b(Float|Half|Int8|Int32|Int64|Bool|BFloat16|FP8|FP32|FP16|INT8|BF16)\b")


def parse_layers(
    text: str,
    nodes: Mapping[str, OnnxNode],
    *,
    sms: tuple[int, ...] = (),
    activation_bytes: int | None = None,
    weights_bytes: int | None = None,
) -> LayerReport:
    """The report in a builder's `Layers:` message, or in an engine inspector's one-line format.

    Fields that a release does not print are left empty.
    """
    lines = text.split("\n")  # not splitlines: the lists of ONNX nodes hold "\x1e"
    io = tuple(tensor for line in lines if (tensor := _io_tensor(line.strip())))
    layers = tuple(
        _layer(line) for line in lines if line.startswith("Name: ") and ", LayerType" in line
    )
    return LayerReport(
        layers=layers,
        io=io,
        nodes=dict(nodes),
        sms=sms,
        activation_bytes=activation_bytes,
        weights_bytes=weights_bytes,
    )


def _layer(line: str) -> EngineLayer:
    name, _, rest = line.removeprefix("Name: ").partition(", LayerType: ")
    metadata = rest.partition("Metadata: ")[2]
    tactic = re.search(r"(?:^|, )TacticName: ([^,]*)", rest)
    return EngineLayer(
        name=name,
        type=rest.partition(",")[0],
        tactic=tactic[1].strip() if tactic else "",
        inputs=tuple(_tensors(_bracketed(rest, "Inputs: "))),
        outputs=tuple(_tensors(_bracketed(rest, "Outputs: "))),
        onnx=tuple(dict.fromkeys(_ONNX_NODE.findall(metadata))),
    )


def _bracketed(text: str, key: str) -> str:
    """The text between the brackets after `key`; brackets may nest."""
    start = text.find(key + "[")
    if start < 0:
        return ""
    start += len(key)
    depth = 0
    for end in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[end], 0)
        if depth == 0:
            return text[start + 1 : end]
    return text[start + 1 :]


def _tensors(text: str) -> Iterator[LayerTensor]:
    for match in _TENSOR.finditer(text):
        fields = _fields(match["fields"] or "")
        old = fields.get("Format/Datatype", "")
        found = _OLD_TYPE.search(old)
        yield LayerTensor(
            name=match["name"],
            dtype=fields.get("Datatype") or (_SPELLINGS.get(found[1], found[1]) if found else ""),
            dims=_sizes(fields.get("Dimensions", "[]")),
            format=fields.get("Format") or old,
        )


def _io_tensor(line: str) -> IoTensor | None:
    """`Name: spec, IOMode: Input, DataType: Float, ..., ProfileInfo: [ { MinShape: ... }]`."""
    if not line.startswith("Name: ") or ", IOMode: " not in line:
        return None
    head, _, profiles = line.partition("ProfileInfo: ")
    fields = _fields(head.rstrip(", "))
    mode: Literal["input", "output"] = "input" if ", IOMode: Input" in line else "output"
    shapes = _PROFILE.search(profiles)
    layout = re.search(r"Format: (.*?)\s*\}", profiles)
    return IoTensor(
        name=fields.get("Name", ""),
        mode=mode,
        dtype=fields.get("DataType", ""),
        dims=_sizes(fields.get("Dimensions", "[]")),
        format=layout[1] if layout else "",
        profile=_profile(shapes) if shapes else None,
    )


def _profile(shapes: re.Match[str]) -> Profile:
    smallest, best, largest = (_sizes(f"[{sizes}]") for sizes in shapes.groups())
    return Profile(min=smallest, opt=best, max=largest)


def _fields(text: str) -> dict[str, str]:
    return {match["key"]: match["value"].strip() for match in _FIELD.finditer(text)}


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in re.findall(r"-?\d+", text))
