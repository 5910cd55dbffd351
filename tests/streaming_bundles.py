"""Small streaming cores, so that what surrounds a streaming network can be checked exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from frcrn_export.runtime.bundle.manifest import (
    FileEntry,
    Level,
    Manifest,
    StateSpec,
    StftSpec,
    StreamingInfo,
    TensorSpec,
)
from frcrn_export.runtime.bundle.reader import sha256_of
from tests.bundles import STFT, manifest, write_manifest


@dataclass(frozen=True)
class Core:
    """What a streaming core does.

    `delay`: the input, `lookahead` late. `halved_end`: that, with the stream's last two frames
    halved, which it finds by counting and `end`. `one_pole`: y[n] = x[n] + y[n-1] / 2 on samples.
    `one_pole_fp16`: the same with x in float16, so that a large sample is infinite from then on.
    `coarse`: a delay that keeps what is late in uint8, in steps of 1/32 from -4 to 3.97.
    """

    kind: str = "delay"
    chunk: int = 1
    lookahead: int = 0


def write_streaming_bundle(
    path: Path,
    core: Core,
    stft: StftSpec | None = STFT,
    level: Level = "none",
    described: Manifest | None = None,
) -> Path:
    """A bundle with a streaming core alone; its chunk and look-ahead are frames or samples."""
    import onnx

    path.mkdir(parents=True)
    described = described or manifest(stft=stft, level=level)
    name = "wave" if stft is None else "spec"
    row = (1, core.chunk) if stft is None else (2, stft.bins, core.chunk)
    past = (*row[:-1], core.lookahead)
    states: list[StateSpec] = []
    if core.kind.startswith("one_pole"):
        states.append(StateSpec(name="y", next="y.next", shape=("batch", *row[:-1], 1)))
    elif core.lookahead:
        states.append(StateSpec(name="past", next="past.next", shape=("batch", *past)))
    if core.kind == "coarse":
        states = [msgspec.structs.replace(states[0], dtype="uint8", initial=128)]
    if core.kind == "halved_end":
        states.append(
            StateSpec(name="index", next="index.next", shape=("batch",), initial=-core.lookahead)
        )
    info = StreamingInfo(
        chunk=core.chunk,
        lookahead=core.lookahead,
        states=tuple(states),
        end="end" if core.kind == "halved_end" else None,
    )
    file = path / "core.streaming.onnx"
    onnx.save(_model(core, name, row, info), file)
    entry = FileEntry(
        path=file.name,
        role="core_streaming",
        format="onnx",
        precision="fp32",
        sha256=sha256_of(file),
        bytes=file.stat().st_size,
        inputs=(TensorSpec(name=name, dtype="float32", shape=("batch", *row)),),
        outputs=(TensorSpec(name="enhanced", dtype="float32", shape=("batch", *row)),),
        streaming=info,
    )
    write_manifest(path, msgspec.structs.replace(described, files=(entry,)))
    return path


def _model(core: Core, name: str, row: tuple[int, ...], info: StreamingInfo) -> Any:
    from onnx import TensorProto, helper

    nodes: list[Any] = []
    constants: list[Any] = []
    given = name

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(label: str, values: Any, kind: int = TensorProto.FLOAT) -> str:
        array = np.asarray(values)
        constants.append(helper.make_tensor(label, kind, array.shape, array.ravel()))
        return label

    def last_axis(source: str, start: int, stop: int, output: str) -> str:
        for edge, value in (("start", start), ("stop", stop)):
            constant(f"{output}.{edge}", [value], TensorProto.INT64)
        if "axis" not in [c.name for c in constants]:
            constant("axis", [-1], TensorProto.INT64)
        return add("Slice", [source, f"{output}.start", f"{output}.stop", "axis"], output)

    far = 1 << 30
    if core.kind.startswith("one_pole"):
        constant("half", 0.5)
        if core.kind == "one_pole_fp16":
            add("Cast", [name], "fp16", to=TensorProto.FLOAT16)
            name = add("Cast", ["fp16"], "x", to=TensorProto.FLOAT)
        outputs, before = [], "y"
        for n in range(core.chunk):
            carried = add("Mul", [before, "half"], f"carried{n}")
            before = add("Add", [last_axis(name, n, n + 1, f"x{n}"), carried], f"y{n}")
            outputs.append(before)
        add("Concat", outputs, "enhanced", axis=-1)
        add("Identity", [before], "y.next")
    else:
        target = "delayed" if core.kind == "halved_end" else "enhanced"
        if core.lookahead:
            past, after = "past", "past.next"
            if core.kind == "coarse":
                steps = [constant("step", 1 / 32), constant("zero", 128, TensorProto.UINT8)]
                past, after = add("DequantizeLinear", ["past", *steps], "late"), "exact"
            joined = add("Concat", [past, name], "joined", axis=-1)
            last_axis(joined, 0, core.chunk, target)
            last_axis(joined, -core.lookahead, far, after)
            if core.kind == "coarse":
                add("QuantizeLinear", [after, *steps], "past.next")
        else:
            add("Identity", [name], target)
    if core.kind == "halved_end":
        constant("chunk", float(core.chunk))
        constant("two", 2.0)
        constant("half", 0.5)
        constant("one", 1.0)
        add("Add", ["index", "chunk"], "index.next")
        constant("frames", np.arange(core.chunk, dtype=np.float32))
        constant("one_axis", [1], TensorProto.INT64)
        constant("inner_axes", list(range(1, len(row))), TensorProto.INT64)
        index = add("Unsqueeze", ["index", "one_axis"], "index.column")  # [B, 1]
        each = add("Add", [index, "frames"], "index.each")  # [B, chunk]
        stop = add("Unsqueeze", [add("Sub", ["end", "two"], "end.two"), "one_axis"], "stop")
        before_end = add("Less", [each, stop], "before_end")
        scale = add("Where", [before_end, "one", "half"], "scale")
        wide = add("Unsqueeze", [scale, "inner_axes"], "scale.wide")  # [B, 1.., chunk]
        add("Mul", ["delayed", wide], "enhanced")

    def value(label: str, shape: tuple[int | str, ...], dtype: str = "float32") -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(label, kind, shape)

    inputs = [value(given, ("batch", *row))]
    results = [value("enhanced", ("batch", *row))]
    for state in info.states:
        inputs.append(value(state.name, state.shape, state.dtype))
        results.append(value(state.next, state.shape, state.dtype))
    if info.end is not None:
        inputs.append(value("end", ("batch",)))
    graph = helper.make_graph(nodes, core.kind, inputs, results, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
