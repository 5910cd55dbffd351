import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.bundle.layer_report import (
    UNLISTED,
    EngineLayer,
    LayerReport,
    LayerTensor,
    OnnxNode,
    census,
    quantized_nodes,
    read_layer_report,
)
from frcrn_export.runtime.errors import BundleError


def layer(kind: str, inputs: list[str], outputs: list[str], *onnx: str) -> EngineLayer:
    def tensors(dtypes: list[str]) -> tuple[LayerTensor, ...]:
        return tuple(LayerTensor(name="t", dtype=d, dims=(-1, 2), format="") for d in dtypes)

    return EngineLayer(
        name="l", type=kind, tactic="", inputs=tensors(inputs), outputs=tensors(outputs), onnx=onnx
    )


def report(nodes: dict[str, tuple[str, str]], *layers: EngineLayer) -> LayerReport:
    return LayerReport(
        layers=layers,
        io=(),
        nodes={name: OnnxNode(op_type=op, dtype=dtype) for name, (op, dtype) in nodes.items()},
    )


def test_counts_by_operator_and_type() -> None:
    nodes = {
        "a": ("Conv", "Half"),
        "b": ("Conv", "Float"),
        "c": ("Conv", "Half"),
        "r": ("Relu", "Half"),
    }
    counts = census(
        report(
            nodes,
            layer("correlation", ["Half"], ["Half"], "a", "r"),
            layer("correlation", ["Float"], ["Float"], "b"),
            layer("correlation", ["Half"], ["Half"], "c"),
        )
    )
    assert counts == {"Conv": {"Half": 2, "Float": 1}, "Relu": {"Half": 1}}


def test_a_convolution_that_the_builder_ran_in_float_counts_as_float() -> None:
    counts = census(
        report({"a": ("Conv", "Half")}, layer("correlation", ["Float"], ["Float"], "a"))
    )
    assert counts == {"Conv": {"Float": 1}}


def test_layers_that_only_move_data_do_not_count() -> None:
    counts = census(
        report(
            {"a": ("Conv", "Half")},
            layer("kgen", ["Float"], ["Half"], "a"),
            layer("correlation", ["Half"], ["Half"], "a"),
        )
    )
    assert counts == {"Conv": {"Half": 1}}


def test_a_fused_node_counts_as_its_type_in_the_file() -> None:
    nodes = {"a": ("Conv", "Half"), "m": ("Mul", "Float"), "q": ("Conv", "Int8")}
    counts = census(report(nodes, layer("kgen", ["Half", "Half"], ["Float"], "a", "m", "q")))
    assert counts == {"Conv": {"Half": 1, "Float+Half": 1}, "Mul": {"Float": 1}}


def test_a_quantized_layer_runs_in_what_it_reads() -> None:
    """TensorRT-RTX writes the sums of INT8 convolutions in Float, of INT8 products in Half."""
    nodes = {
        "conv": OnnxNode(op_type="Conv", dtype="Half", quantized=True),
        "product": OnnxNode(op_type="MatMul", dtype="Half", quantized=True),
        "tiny": OnnxNode(op_type="Conv", dtype="Half", quantized=True),
        "other": OnnxNode(op_type="Conv", dtype="Half"),
        "eighth": OnnxNode(op_type="Conv", dtype="Half", quantized=True),
        "lost": OnnxNode(op_type="Conv", dtype="Half", quantized=True),
        "weight": OnnxNode(op_type="DequantizeLinear", dtype="Half"),
    }
    layers = (
        layer("kgen", ["Half"], ["Int8"], "conv"),
        layer("correlation", ["Int8"], ["Float"], "conv", "weight"),
        layer("gemm", ["Int8"], ["Half"], "product"),
        layer("correlation", ["Half", "Half"], ["Half"], "tiny"),
        layer("kgen", ["Int8"], ["Half"], "tiny"),
        layer("correlation", ["Half"], ["Half"], "other"),
        layer("correlation", ["FP8"], ["Float"], "eighth"),
    )
    found = LayerReport(layers=layers, io=(), nodes=nodes)
    assert census(found) == {
        "Conv": {"Int8": 1, "Half": 2, "FP8": 1, UNLISTED: 1},
        "MatMul": {"Int8": 1},
        "DequantizeLinear": {"Int8": 1},
    }
    assert quantized_nodes(found) == {
        "conv": "Int8", "product": "Int8", "tiny": "Half", "eighth": "FP8", "lost": UNLISTED,
    }  # fmt: skip


def test_shapes_and_indices_are_not_data() -> None:
    nodes = {"g": ("Gather", ""), "s": ("Shape", "Int64")}
    counts = census(
        report(
            nodes,
            layer("kgen", ["Half", "Int64"], ["Half"], "g"),
            layer("kgen", ["Int32"], ["Int64"], "s"),
        )
    )
    assert counts == {"Gather": {"Half": 1}, "Shape": {"Int64": 1}}


def test_nodes_that_no_layer_names_are_said() -> None:
    assert census(report({"a": ("Reshape", "Half")})) == {"Reshape": {UNLISTED: 1}}
    assert census(report({})) == {}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["Half", "Float", "Int64"])),
    st.lists(
        st.tuples(
            st.sampled_from(["kgen", "gemm"]),
            st.lists(st.sampled_from(["Half", "Float", "Int64", ""])),
            st.lists(st.sampled_from("abcdef")),
        )
    ),
)
def test_every_node_counts_once(
    nodes: dict[str, str], layers: list[tuple[str, list[str], list[str]]]
) -> None:
    built = report(
        {name: ("Conv", dtype) for name, dtype in nodes.items()},
        *(layer(kind, dtypes, dtypes, *names) for kind, dtypes, names in layers),
    )
    assert sum(sum(counts.values()) for counts in census(built).values()) == len(nodes)


def test_json_there_and_back() -> None:
    built = report({"a": ("Conv", "Half")}, layer("gemm", ["Half"], ["Half"], "a"))
    assert read_layer_report(built.to_json(), "layers.json") == built


VALID = msgspec.json.decode(
    report({"a": ("Conv", "Half")}, layer("gemm", ["Half"], ["Half"], "a")).to_json()
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        msgspec.json.encode(VALID | {"nodes": {"a": {"op_type": "\x1b[31mConv", "dtype": "Half"}}}),
        msgspec.json.encode(VALID | {"nodes": {"a": {"op_type": "C" * 65, "dtype": "Half"}}}),
        msgspec.json.encode(VALID | {"layers": 3}),
        msgspec.json.encode(VALID | {"weights_bytes": -1}),
    ],
)
def test_a_bad_file_is_a_bundle_error(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^core\.layers\.json: not a layer report .*again$"):
        read_layer_report(data, "core.layers.json")
