"""Small graphs with every kind of layer that the quantizer has to tell apart."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.calibration.graph.signals import find_signals
from frcrn_export.calibration.histogram import Histogram, histogram

Arrays = dict[str, npt.NDArray[np.float32]]


def masking_network(fp16: bool = False) -> onnx.ModelProto:
    """wave [batch, 1, samples] to enhanced of the same shape, by a mask on 32 bands.

    Node names say what they are; `shared` is read by two layers and by an addition.
    """
    random = np.random.default_rng(0)
    dtype = np.float16 if fp16 else np.float32
    weights: list[onnx.TensorProto] = []

    def conv(
        name: str, source: str, shape: tuple[int, ...], **attributes: object
    ) -> onnx.NodeProto:
        transposed = attributes.pop("op", "Conv") == "ConvTranspose"
        fan_in = shape[0] if transposed else int(np.prod(shape[1:]))
        kernel = random.standard_normal(shape) / np.sqrt(fan_in)
        bias = 0.1 * random.standard_normal(shape[1] if transposed else shape[0])
        weights.append(numpy_helper.from_array(kernel.astype(dtype), f"{name}.weight"))
        weights.append(numpy_helper.from_array(bias.astype(dtype), f"{name}.bias"))
        return helper.make_node(
            "ConvTranspose" if transposed else "Conv",
            [source, f"{name}.weight", f"{name}.bias"],
            [f"{name}.out"],
            name,
            **attributes,
        )

    def node(op: str, sources: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(op, sources, [output], f"node.{output}", **attributes)

    weights.append(numpy_helper.from_array(np.array([2], np.int64), "time"))
    wave, result = ("wave.fp16", "result.fp16") if fp16 else ("wave", "enhanced")
    to = {"to": TensorProto.FLOAT16}, {"to": TensorProto.FLOAT}
    nodes = [
        *([node("Cast", ["wave"], wave, **to[0])] if fp16 else []),
        conv("analysis", wave, (32, 1, 8), strides=[8]),
        node("Relu", ["analysis.out"], "shared"),
        conv("encoder", "shared", (48, 32, 3), pads=[1, 1]),
        node("Relu", ["encoder.out"], "encoded"),
        node("ReduceMean", ["encoded", "time"], "means"),
        conv("squeeze", "means", (16, 48, 1)),
        node("Relu", ["squeeze.out"], "squeezed"),
        conv("excite", "squeezed", (48, 16, 1)),
        node("Sigmoid", ["excite.out"], "gains"),
        node("Mul", ["encoded", "gains"], "excited"),
        conv("depthwise", "excited", (48, 1, 3), pads=[1, 1], group=48),
        conv("grouped", "depthwise.out", (32, 24, 1), group=2),
        conv("parallel", "shared", (32, 32, 1)),
        node("Add", ["grouped.out", "parallel.out"], "sum"),
        node("Add", ["sum", "shared"], "residual"),
        conv("mask", "residual", (32, 32, 1)),
        node("Sigmoid", ["mask.out"], "masks"),
        node("Mul", ["shared", "masks"], "masked"),
        conv("synthesis", "masked", (32, 1, 8), op="ConvTranspose", strides=[8]),
        node("Cast", ["synthesis.out"], "enhanced", **to[1])
        if fp16
        else node("Identity", ["synthesis.out"], result),
    ]
    shape = ["batch", 1, "samples"]
    return _model(nodes, "wave", "enhanced", shape, weights)


def matrix_network() -> onnx.ModelProto:
    """wave [batch, 1, 32] to enhanced of the same shape, by products with matrices."""
    random = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(
            (random.standard_normal(shape) / np.sqrt(shape[-2])).astype(np.float32), name
        )
        for name, shape in (("in", (32, 48)), ("middle", (48, 64)), ("stack", (1, 64, 32)))
    ]
    nodes = [
        helper.make_node("MatMul", ["wave", "in"], ["x"], "first"),
        helper.make_node("Relu", ["x"], ["y"], "relu"),
        helper.make_node("MatMul", ["y", "middle"], ["z"], "middle"),
        helper.make_node("MatMul", ["z", "stack"], ["enhanced"], "last"),
    ]
    return _model(nodes, "wave", "enhanced", ["batch", 1, 32], weights)


def gemm_network() -> onnx.ModelProto:
    """wave [batch, 1, 32] to enhanced of the same shape, by products with a bias, row by row.

    `second` reads the outputs of `first` in another order, and has its matrix transposed.
    """
    random = np.random.default_rng(4)
    shapes = {"one": (32, 64), "two": (48, 64), "three": (48, 32)}
    floats = {name: random.standard_normal(shape) / 7 for name, shape in shapes.items()}
    floats |= {"one.bias": random.standard_normal(64), "two.bias": random.standard_normal(48)}
    integers = {"rows": [-1, 32], "parts": [-1, 4, 16], "turn": [3, 1, 0, 2], "joined": [-1, 64]}
    integers["shape"] = [-1, 1, 32]
    weights = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in floats.items()]
    weights += [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in integers.items()]
    nodes = [
        helper.make_node("Reshape", ["wave", "rows"], ["row"], "to.rows"),
        helper.make_node("Gemm", ["row", "one", "one.bias"], ["x"], "first"),
        helper.make_node("Relu", ["x"], ["y"], "relu"),
        helper.make_node("Reshape", ["y", "parts"], ["cut"], "to.parts"),
        helper.make_node("Gather", ["cut", "turn"], ["turned"], "turning", axis=1),
        helper.make_node("Reshape", ["turned", "joined"], ["again"], "to.joined"),
        helper.make_node("Gemm", ["again", "two", "two.bias"], ["z"], "second", transB=1),
        helper.make_node("Gemm", ["z", "three"], ["last"], "third"),
        helper.make_node("Reshape", ["last", "shape"], ["enhanced"], "to.shape"),
    ]
    return _model(nodes, "wave", "enhanced", ["batch", 1, 32], weights)


def summing_network() -> onnx.ModelProto:
    """wave [batch, 1, samples] to enhanced, through sums, cuts, a mask and a leaky ReLU.

    As FRCRN's complex layers are summed up: what `one` and `two` make of the parts re and im, and
    these.
    """
    random = np.random.default_rng(2)
    weights = [
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in (("parts", [32, 32]), ("nought", 0), ("nought.axis", [0, 1]))
    ]

    def conv(name: str, source: str, output: str, shape: tuple[int, ...]) -> onnx.NodeProto:
        kernel = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        bias = 0.1 * random.standard_normal(shape[0])
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"{name}.weight"))
        weights.append(numpy_helper.from_array(bias.astype(np.float32), f"{name}.bias"))
        pad = shape[2] // 2
        return helper.make_node(
            "Conv", [source, f"{name}.weight", f"{name}.bias"], [output], name, pads=[pad, pad]
        )

    def node(op: str, sources: list[str], outputs: list[str], **values: object) -> onnx.NodeProto:
        return helper.make_node(op, sources, outputs, f"node.{outputs[0]}", **values)

    weights.append(numpy_helper.from_array(np.array([0.5], np.float32), "half"))
    nodes = [
        conv("first", "wave", "narrow", (32, 1, 5)),
        node("Mul", ["narrow", "half"], ["scaled"]),
        conv("widen", "scaled", "wide", (64, 32, 3)),
        node("LeakyRelu", ["wide"], ["soft"], alpha=0.01),
        node("Split", ["soft", "parts"], ["re", "im"], axis=1),
        node("Concat", ["im", "re"], ["turned"], axis=1),
        conv("one", "soft", "one.out", (64, 64, 1)),
        conv("two", "turned", "two.out", (64, 64, 1)),
        node("Shape", ["wave"], ["size"], start=0, end=1),
        node("GreaterOrEqual", ["size", "nought"], ["truth"]),
        node("Cast", ["truth"], ["inside"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["inside", "nought.axis"], ["inside.seen"]),
        node("Mul", ["two.out", "inside.seen"], ["masked"]),
        node("Add", ["one.out", "masked"], ["both"]),
        node("Sub", ["re", "im"], ["less"]),
        node("Add", ["im", "re"], ["more"]),
        node("Concat", ["less", "more"], ["joined"], axis=1),
        node("Add", ["both", "joined"], ["all"]),
        conv("forth", "all", "forth.out", (64, 64, 1)),
        conv("back", "forth.out", "back.out", (32, 64, 3)),
        node("Sigmoid", ["back.out"], ["gains"]),
        node("Mul", ["gains", "narrow"], ["heard"]),
        conv("last", "heard", "last.out", (1, 32, 3)),
        node("Identity", ["last.out"], ["enhanced"]),
    ]
    return _model(nodes, "wave", "enhanced", ["batch", 1, "samples"], weights)


def streaming_network() -> onnx.ModelProto:
    """wave [batch, 1, samples] and a state [batch, 32, 2] to enhanced and the next state."""
    random = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(np.array([values], np.int64), name)
        for name, values in (("start", -2), ("end", 1 << 40), ("axis", 2))
    ]
    nodes = []
    for name, source, shape in (
        ("first", "wave", (32, 1, 1)),
        ("before", "first.out", (32, 32, 1)),
        ("behind", "joined", (32, 32, 3)),
        ("last", "behind.out", (1, 32, 1)),
    ):
        kernel = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"{name}.weight"))
        inputs = [source, f"{name}.weight"]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.out"], name))
        if name == "before":
            nodes.append(
                helper.make_node("Concat", ["state", "before.out"], ["joined"], "join", axis=2)
            )
            cut = ["joined", "start", "end", "axis"]
            nodes.append(helper.make_node("Slice", cut, ["state.next"], "cut"))
    nodes.append(helper.make_node("Identity", ["last.out"], ["enhanced"], "result"))
    model = _model(nodes, "wave", "enhanced", ["batch", 1, "samples"], weights, check=False)
    for values, name in ((model.graph.input, "state"), (model.graph.output, "state.next")):
        shape = ["batch", 32, 2]
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    return model


RECURRENT_HIDDEN = 40


def recurrent_network(
    kind: str = "GRU", streaming: bool = False, fp16: bool = False
) -> onnx.ModelProto:
    """wave [batch, 1, samples] to enhanced by a mask on 32 bands that a GRU or LSTM has a part in.

    With `streaming` its states [batch, 1, RECURRENT_HIDDEN] are inputs and outputs; with `fp16` the
    convolutions are in float16, it is not.
    """
    random = np.random.default_rng(4)
    dtype = np.float16 if fp16 else np.float32
    weights = [numpy_helper.from_array(np.array([1], np.int64), "directions")]
    if fp16:
        weights.append(numpy_helper.from_array(np.array(np.finfo(np.float32).min), "lowest"))
    to = {"to": TensorProto.FLOAT16}, {"to": TensorProto.FLOAT}
    gates, state_count = (3, 1) if kind == "GRU" else (4, 2)
    states = [f"state{index}" for index in range(state_count)] if streaming else []

    def weight(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> str:
        values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        weights.append(numpy_helper.from_array(values.astype(dtype), name))
        return name

    def conv(
        name: str, source: str, shape: tuple[int, ...], op: str = "Conv", **attributes: object
    ) -> onnx.NodeProto:
        inputs = [source, weight(f"{name}.weight", shape, dtype)]
        return helper.make_node(op, inputs, [f"{name}.out"], name, **attributes)

    def node(op: str, sources: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(op, sources, [output], f"node.{output}", **attributes)

    def cast(source: str, output: str, back: bool) -> list[onnx.NodeProto]:
        return [node("Cast", [source], output, **to[back])] if fp16 else []

    wave, turned, y = ("wave.fp16", "turned.float", "y.fp16") if fp16 else ("wave", "turned", "y")
    result = "synthesis.out" if fp16 else "enhanced"
    given = [turned, *(weight(f"recurrent.{n}", (1, gates * RECURRENT_HIDDEN, size), np.float32)
                       for n, size in (("W", 48), ("R", RECURRENT_HIDDEN)))]  # fmt: skip
    after = [f"{state}.after" for state in states]
    attributes = {"hidden_size": RECURRENT_HIDDEN} | (
        {"linear_before_reset": 1} if kind == "GRU" else {}
    )
    nodes = [
        *cast("wave", "wave.fp16", back=False),
        conv("analysis", wave, (32, 1, 8), strides=[8]),
        node("Relu", ["analysis.out"], "shared"),
        conv("before", "shared", (48, 32, 1)),
        node("Relu", ["before.out"], "encoded"),
        node("Transpose", ["encoded"], "turned", perm=[2, 0, 1]),
        *cast("turned", "turned.wide", back=True),
        # As in exporters/recurrent.py.
        *([node("Max", ["turned.wide", "lowest"], "turned.float")] if fp16 else []),
        *(node("Transpose", [s], f"{s}.before", perm=[1, 0, 2]) for s in states),
        helper.make_node(
            kind,
            [*given, *(["", "", *(f"{s}.before" for s in states)] if streaming else [])],
            ["outputs", *after],
            "recurrent",
            **attributes,
        ),
        *(node("Transpose", [f"{s}.after"], f"{s}.next", perm=[1, 0, 2]) for s in states),
        node("Squeeze", ["outputs", "directions"], "y"),
        *cast("y", "y.fp16", back=False),
        node("Transpose", [y], "heard", perm=[1, 2, 0]),
        conv("behind", "heard", (32, RECURRENT_HIDDEN, 1)),
        conv("parallel", "shared", (32, 32, 1)),
        node("Add", ["behind.out", "parallel.out"], "sum"),
        node("Relu", ["sum"], "rectified"),
        conv("mask", "rectified", (32, 32, 1)),
        node("Sigmoid", ["mask.out"], "masks"),
        node("Mul", ["shared", "masks"], "masked"),
        conv("synthesis", "masked", (32, 1, 8), op="ConvTranspose", strides=[8]),
        *cast("synthesis.out", "enhanced", back=True),
    ]
    if not fp16:
        nodes[-1].output[0] = result
    model = _model(nodes, "wave", "enhanced", ["batch", 1, "samples"], weights, check=False)
    for values, end in ((model.graph.input, ""), (model.graph.output, ".next")):
        for state in states:
            shape = ["batch", 1, RECURRENT_HIDDEN]
            values.append(helper.make_tensor_value_info(state + end, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    return model


def _model(
    nodes: list[onnx.NodeProto],
    given: str,
    result: str,
    shape: list[str | int],
    weights: list[onnx.TensorProto],
    check: bool = True,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if check:
        onnx.checker.check_model(model, full_check=True)
    return model


def wave(seed: int = 0, batch: int = 1, samples: int = 512) -> Arrays:
    random = np.random.default_rng(seed)
    return {"wave": random.standard_normal((batch, 1, samples)).astype(np.float32)}


def run(model: onnx.ModelProto, feed: Arrays, optimized: str = "") -> npt.NDArray[np.float32]:
    """The first output; with `optimized` ONNX Runtime writes there what it made of the graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = optimized
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    output: npt.NDArray[np.float32] = session.run(None, feed)[0]
    return output


def signal_ranges(model: onnx.ModelProto, feeds: list[Arrays]) -> dict[str, Histogram]:
    """What its signals are to be measured in."""
    observed = [name for signal in find_signals(model) for name in signal.observed]
    return ranges_of(model, observed, feeds)


def ranges_of(
    model: onnx.ModelProto, tensors: list[str], feeds: list[Arrays]
) -> dict[str, Histogram]:
    """Histograms of tensors, straight from what ONNX Runtime gives."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outside = [name for name in tensors if name not in {v.name for v in model.graph.input}]
    for name in outside:
        watched.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    seen: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in tensors}
    for feed in feeds:
        values = dict(zip(outside, session.run(outside, feed), strict=True)) | feed
        for name in tensors:
            seen[name].append(values[name].astype(np.float32).ravel())
    return {name: histogram(np.concatenate(parts)) for name, parts in seen.items()}
