"""What a lint of an engine's layers finds."""

import pytest

from frcrn_export.runtime.bundle.layer_lint import Finding, lint, said_of
from frcrn_export.runtime.bundle.layer_report import (
    EngineLayer,
    IoTensor,
    LayerReport,
    LayerTensor,
    OnnxNode,
)

Side = list[tuple[str, str]]  # data type and format


def layer(name: str, kind: str, read: Side, written: Side, *onnx: str) -> EngineLayer:
    def tensors(side: Side, stem: str) -> tuple[LayerTensor, ...]:
        return tuple(
            LayerTensor(name=f"{name}.{stem}{i}", dtype=dtype, dims=(-1, 64, -1), format=layout)
            for i, (dtype, layout) in enumerate(side)
        )

    return EngineLayer(
        name=name,
        type=kind,
        tactic="",
        inputs=tensors(read, "in"),
        outputs=tensors(written, "out"),
        onnx=onnx,
    )


def conv(
    dtype: str, work: int | None, channels: tuple[int, int], *, quantized: bool = False
) -> OnnxNode:
    return OnnxNode(
        op_type="Conv",
        dtype=dtype,
        quantized=quantized,
        is_weighted=True,
        multiplications=work,
        channels=channels,
    )


HALF, FLOAT, INT8 = [("Half", "NHWC")], [("Float", "NHWC")], [("Int8", "NHWC")]


def found(report: LayerReport, precision: str, kind: str) -> list[tuple[str, float | None, str]]:
    return [
        (each.name, each.share, each.detail)
        for each in lint(report, precision)  # type: ignore[arg-type]
        if each.kind == kind
    ]


def test_layers_outside_the_precision_with_their_share() -> None:
    report = LayerReport(
        layers=(
            layer("a", "correlation", HALF, HALF, "a"),
            layer("b", "correlation", FLOAT, FLOAT, "b"),
            layer("c", "correlation", FLOAT, FLOAT, "c"),
        ),
        io=(),
        nodes={
            "a": conv("Half", 60, (8, 8)),
            "b": conv("Float", 10, (8, 8)),
            "c": conv("Half", 30, (8, 8)),
            "add": OnnxNode(op_type="Add", dtype="Float"),
        },
    )
    assert found(report, "fp16", "precision") == [
        ("c", 0.3, "Half in the file, the builder runs it in Float"),
        ("b", 0.1, "Float in the file"),
    ]
    assert said_of(report, lint(report, "fp16"), "precision") == "2 layers, 40.0 % of the work"
    assert not found(report, "fp32", "precision")
    assert said_of(report, lint(report, "fp32"), "precision") == "0 layers"


def test_quantized_layers_that_fell_out_of_int8() -> None:
    report = LayerReport(
        layers=(
            layer("q", "correlation", INT8, HALF, "q"),
            layer("f", "correlation", HALF, HALF, "f"),
            layer("h", "correlation", HALF, HALF, "h"),
        ),
        io=(),
        nodes={
            "q": conv("Half", 50, (32, 16), quantized=True),
            "f": conv("Half", 30, (32, 16), quantized=True),
            "h": conv("Half", 20, (32, 16)),
        },
    )
    assert found(report, "int8", "precision") == [
        ("f", 0.3, "the file quantizes it, the builder runs it in Half"),
        ("h", 0.2, "Half in the file"),
    ]


@pytest.mark.parametrize(
    ("dtype", "channels", "said"),
    [
        ("Half", (8, 24), None),
        ("Half", (4, 24), "4 input channels, no multiple of 8, as tensor cores take in Half"),
        ("Half", (8, 1), "1 output channels, no multiple of 8, as tensor cores take in Half"),
        ("Int8", (32, 16), None),
        ("Int8", (16, 16), "16 input channels, no multiple of 32, as tensor cores take in Int8"),
        ("FP8", (32, 8), "8 output channels, no multiple of 16, as tensor cores take in FP8"),
        ("Float", (1, 1), None),
    ],
)
def test_channels_that_miss_the_tensor_cores(
    dtype: str, channels: tuple[int, int], said: str | None
) -> None:
    side = [(dtype, "NHWC")]
    report = LayerReport(
        layers=(layer("a", "correlation", side, side, "a"),),
        io=(),
        nodes={"a": conv(dtype, 5, channels, quantized=dtype in ("Int8", "FP8"))},
    )
    findings = found(report, "fp16", "channels")
    assert findings == ([("a", 1.0, said)] if said else [])


def test_layers_that_only_convert() -> None:
    linear = [("Half", "Linear")]
    report = LayerReport(
        layers=(
            layer("in", "kgen", FLOAT, HALF, "cast"),
            layer("move", "Reformat", HALF, linear),
            layer("copy", "Reformat", HALF, HALF),
            layer("fused", "kgen", FLOAT, HALF, "cast", "add"),
            layer("unknown", "kgen", FLOAT, HALF, "nobody"),
            layer("quantize", "kgen", HALF, INT8, "q"),
            layer("shapes", "shape_call", [], []),
            layer("conv", "correlation", FLOAT, HALF, "a"),
        ),
        io=(IoTensor(name="in.in0", mode="input", dtype="Float", dims=(-1,), format=""),),
        nodes={
            "cast": OnnxNode(op_type="Cast", dtype="Half"),
            "add": OnnxNode(op_type="Add", dtype="Half"),
            "q": OnnxNode(op_type="QuantizeLinear", dtype="Int8"),
            "a": conv("Half", 5, (8, 8)),
        },
    )
    step = "64 values a step of the dynamic axes"
    assert found(report, "fp16", "conversion") == [
        ("in", None, f"Float to Half, {step}, at the engine's input"),
        ("move", None, f"NHWC to Linear, {step}"),
        ("quantize", None, f"Half to Int8, {step}"),
    ]
    assert said_of(report, lint(report, "fp16"), "conversion") == "3 layers of 8"


def test_work_that_is_not_known_is_no_share() -> None:
    nodes = {"a": conv("Float", None, (8, 8)), "b": conv("Half", 9, (8, 8))}
    report = LayerReport(
        layers=(
            layer("a", "correlation", FLOAT, FLOAT, "a"),
            layer("b", "correlation", HALF, HALF, "b"),
        ),
        io=(),
        nodes=nodes,
    )
    findings = lint(report, "fp16")
    assert findings == (
        Finding(kind="precision", name="a", operator="Conv", detail="Float in the file"),
    )
    assert said_of(report, findings, "precision") == "1 layer"


def test_a_report_of_an_earlier_version_says_that_it_does_not_know() -> None:
    report = LayerReport(
        layers=(layer("a", "correlation", FLOAT, FLOAT, "a"),),
        io=(),
        nodes={"a": OnnxNode(op_type="Conv", dtype="Half")},
    )
    assert said_of(report, lint(report, "fp16"), "precision").startswith("unknown")
