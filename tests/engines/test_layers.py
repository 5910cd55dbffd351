from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.engines.layers import parse_layers
from frcrn_export.runtime.bundle.layer_report import LayerTensor, OnnxNode, read_layer_report
from frcrn_export.runtime.bundle.manifest import Profile

NODES = {"node_conv2d": OnnxNode(op_type="Conv", dtype="Half")}

# As TensorRT-RTX 1.7 and TensorRT 11 print an engine.
LAYERS = """\
Layers:
Name: __mye100_0_myl0_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], \
TacticName: , StreamId: 0, Metadata: \n\
Name: __myl_CorrMulMax_myl0_2, LayerType: runtime_fusion, Inputs: [ { Name: fp16, Dimensions: \
[-1,2,65,-1], Strides: [-1,1,-1,2], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel \
major format }, { Name: spec, Dimensions: [-1,2,65,-1], Strides: [-1,-1,-1,1], StrideOrder: \
[3,2,1,0], Datatype: Float, Format: (Linear) Row major linear format }], Constants: [ { Name: \
__mye350dconst_myl0, Dimensions: [8,2,5,2], Strides: [20,1,4,2], StrideOrder: [3,0,2,1], Datatype: \
Int8, Format: (NHWC) Channel major format }], Outputs: [ { Name: q.1_16_myl0, Dimensions: \
[-1,8,65,-1], Strides: [-1,1,-1,8], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel \
major format }], TacticName: __myl_Corr_0x9b_vec, StreamId: 0, Metadata: \
[ONNX Layer: node_leaky]\x1f[ONNX Layer: node_conv2d]\x1e[ONNX Layer: node_leaky]__gemm_from_conv1x1

I/O Tensors:
 Name: spec, IOMode: Input, DataType: Float, Dimensions: [-1,2,65,-1], Location: Device, \
IsShapeInferenceIO: false, ProfileInfo: [ { MinShape: [1,2,65,1], OptShape: [1,2,65,10], MaxShape: \
[2,2,65,20], Format: Row major linear FP32 format (kLINEAR) }]
 Name: enhanced, IOMode: Output, DataType: Float, Dimensions: [-1,2,65,-1], Location: Device, \
IsShapeInferenceIO: false, ProfileInfo: [ { Format: Row major linear FP32 format (kLINEAR) }]

Engine Metadata:
 Multi-Device: Disabled
"""


def test_reads_layers_with_their_tensors_and_onnx_nodes() -> None:
    report = parse_layers(LAYERS, NODES, activation_bytes=1, weights_bytes=2)
    shape_call, fusion = report.layers
    assert (shape_call.type, shape_call.tactic, shape_call.inputs) == ("shape_call", "", ())
    assert fusion.name == "__myl_CorrMulMax_myl0_2"
    assert fusion.tactic == "__myl_Corr_0x9b_vec"
    assert [tensor.name for tensor in fusion.inputs] == ["fp16", "spec"]
    assert fusion.outputs == (
        LayerTensor(
            name="q.1_16_myl0",
            dtype="Half",
            dims=(-1, 8, 65, -1),
            format="(NHWC) Channel major format",
        ),
    )
    assert fusion.onnx == ("node_leaky", "node_conv2d")
    assert (report.nodes, report.activation_bytes, report.weights_bytes) == (NODES, 1, 2)


def test_reads_the_io_tensors_with_the_profile() -> None:
    spec, enhanced = parse_layers(LAYERS, NODES).io
    assert (spec.name, spec.mode, spec.dtype, spec.dims) == (
        "spec",
        "input",
        "Float",
        (-1, 2, 65, -1),
    )
    assert spec.format == "Row major linear FP32 format (kLINEAR)"
    assert spec.profile == Profile(min=(1, 2, 65, 1), opt=(1, 2, 65, 10), max=(2, 2, 65, 20))
    assert (enhanced.name, enhanced.mode, enhanced.profile) == ("enhanced", "output", None)


def test_reads_the_one_field_of_type_and_layout_of_older_releases() -> None:
    for words, dtype in [
        ("Row major linear FP32", "Float"),
        ("Channel major FP16 format where channel % 8 == 0", "Half"),
        ("Four wide channel vectorized row major Int8 format", "Int8"),
        ("Row major Int8 format", "Int8"),
        ("N/A due to dynamic shapes", ""),
    ]:
        text = (
            "Layers:\nName: a + b, LayerType: CaskConvolution, Inputs: [ { Name: x, Location: "
            f"Device, Dimensions: [1,3], Format/Datatype: {words} }}], Outputs: [], TacticName: t"
        )
        (layer,) = parse_layers(text, {}).layers
        assert (layer.name, layer.type, layer.onnx) == ("a + b", "CaskConvolution", ())
        assert layer.inputs == (LayerTensor(name="x", dtype=dtype, dims=(1, 3), format=words),)


def test_missing_fields_are_left_empty() -> None:
    (layer,) = parse_layers("Name: x, LayerType: Reformat, Inputs: [ { Name: a }", {}).layers
    assert layer.inputs == (LayerTensor(name="a", dtype="", dims=(), format=""),)
    assert (layer.outputs, layer.tactic, layer.onnx) == ((), "", ())


_KEYS = ("Name: ", "LayerType: ", "IOMode: ", "Metadata: ", "[ONNX Layer: ", "ProfileInfo: ")
_VALUES = ("Inputs: [", "Outputs: [", "Dimensions: [", "MinShape: [1]", "Datatype: Half", "1", "x")
fragments = st.sampled_from([*"[]{}:,\n \x1e", *_KEYS, *_VALUES])


@given(st.lists(fragments, max_size=60).map("".join))
def test_no_text_stops_it_and_what_it_reads_survives_json(text: str) -> None:
    report = parse_layers(text, NODES)
    assert read_layer_report(report.to_json(), "layers.json") == report
