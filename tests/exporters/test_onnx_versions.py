"""Files ask for the lowest opset and IR version that their graphs need, and compute the same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, defs, helper, numpy_helper

from frcrn_export.exporters import onnx_versions
from frcrn_export.exporters.bundle import export_onnx
from frcrn_export.exporters.graph_layers import SCOPES
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.onnx_versions import (
    LOWEST_OPSET,
    OPSET,
    OpsetTooLow,
    check_opset,
    lower_versions,
    opset_of,
    raise_opset,
    with_versions,
)
from frcrn_export.exporters.streaming_export import StreamingOptions
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.errors import UserError

X = np.random.default_rng(0).standard_normal((2, 4, 6)).astype(np.float32)


def model(text: str, constants: str = "") -> onnx.ModelProto:
    """A model of these nodes in opset 18, from `x` to `y`."""
    head = f'<ir_version: 10, opset_import: ["": {OPSET}]>'
    signature = f"g (float[batch, 4, 6] x) => (float y) <{constants}>"
    parsed = onnx.parser.parse_model(f"{head} {signature} {{ {text} }}")
    del parsed.graph.output[:]
    inferred = onnx.shape_inference.infer_shapes(parsed, strict_mode=True)
    parsed.graph.output.append(
        next(value for value in inferred.graph.value_info if value.name == "y")
    )
    onnx.checker.check_model(parsed, full_check=True)
    return parsed


def run(written: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        written.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": X})
    return y


@pytest.mark.parametrize(
    ("text", "constants", "opset"),
    [
        ("y = Relu (x)", "", 11),
        ("y = Add (x, x)", "", 11),
        ('y = Pad <mode = "reflect"> (x, pads)', "int64[6] pads = {0, 0, 1, 0, 0, 1}", 11),
        ("y = Pad (x, pads, , axes)", "int64[2] pads = {1, 1}, int64[1] axes = {2}", 18),
        ("y = ReduceMean <keepdims = 1> (x, axes)", "int64[2] axes = {1, 2}", 11),
        ("y = ReduceMax <keepdims = 0> (x)", "", 11),
        ("y = ReduceMean <noop_with_empty_axes = 1> (x)", "", 18),
        ("y = ReduceSum (x, axes)", "int64[1] axes = {1}", 13),
        ("y = Unsqueeze (x, axes)", "int64[1] axes = {0}", 13),
        ("y, z = Split <axis = 1, num_outputs = 2> (x)", "", 11),
        ("y, z, w = Split <axis = 1, num_outputs = 3> (x)", "", 18),  # parts of 2, 1, 1
        ("y, z = Split <axis = 0, num_outputs = 2> (x)", "", 18),  # of a size that is not known
        ("y, z = Split <axis = 1> (x, sizes)", "int64[2] sizes = {1, 3}", 13),
        ("y = Reshape <allowzero = 1> (x, shape)", "int64[2] shape = {-1, 24}", 11),
        ("y = Reshape <allowzero = 0> (x, shape)", "int64[3] shape = {0, 4, 6}", 11),
        ("s = Shape (x) y = Reshape <allowzero = 1> (x, s)", "", 14),
        ("s = Shape <start = 0> (x) y = Reshape (x, s)", "", 11),
        ("s = Shape <start = 1> (x) y = Expand (x, s)", "", 15),
        ("y = Softmax <axis = 1> (x)", "", 13),
        ("y = LayerNormalization (x, scale)", "float[1] scale = {2.0}", 17),
        ("y = Clip (x, low)", "float low = {0.5}", 11),
        ("n = Cast <to = 7> (x) m = Max (n, n) y = Cast <to = 1> (m)", "", 12),  # of integers
    ],
)
def test_the_lowest_opset_of_a_node_and_the_same_output(
    text: str, constants: str, opset: int
) -> None:
    written = model(text, constants)
    expected = run(written)
    lower_versions(written, "core.onnx")
    assert (opset_of(written), written.ir_version) == (opset, 8)
    np.testing.assert_array_equal(run(written), expected)
    raise_opset(written, OPSET)
    onnx.checker.check_model(written, full_check=True)
    assert opset_of(written) == OPSET
    np.testing.assert_array_equal(run(written), expected)


def test_a_dtype_that_an_older_definition_lacks_keeps_the_newer_one() -> None:
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])],
        "halves",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [4])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [4])],
        [
            numpy_helper.from_array(np.float16(0.5), "scale"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ],
    )
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    lower_versions(written, "core.int8.onnx")
    assert (opset_of(written), written.ir_version) == (19, 9)


def test_constants_are_found_around_a_scan_and_unused_ones_dropped() -> None:
    text = """
        <ir_version: 10, opset_import: ["": 18]>
        g (float[1, 2, 3] x) => (float[1, 2] y) <int64[1] axes = {1}> {
            y = Scan <num_scan_inputs = 1, body = inner (float[2, 3] row) => (float[2] mean) {
                mean = ReduceMean <keepdims = 0> (row, axes)
            }> (x)
        }
    """
    written = onnx.parser.parse_model(text)
    lower_versions(written, "core.long.onnx")
    (scan,) = written.graph.node
    (body,) = (each.g for each in scan.attribute if each.name == "body")
    assert [each.name for each in body.node[0].attribute] == ["keepdims", "axes"]
    assert (opset_of(written), len(written.graph.initializer)) == (LOWEST_OPSET, 0)


def test_an_opset_that_was_asked_for() -> None:
    written = model("y = Relu (x)")
    lower_versions(written, "core.onnx", 16)
    assert opset_of(written) == 16
    with pytest.raises(
        OpsetTooLow, match=r"core.onnx: needs opset 13, not 12 \(Softmax 13\); take"
    ):
        lower_versions(model("z = Relu (x) y = Softmax (z)"), "core.onnx", 12)
    for opset in (LOWEST_OPSET - 1, OPSET + 1):
        with pytest.raises(UserError, match=f"opset {opset}: take --opset 11 to 18"):
            check_opset(opset)


def test_a_node_that_would_mean_something_else_is_not_raised() -> None:
    """Before opset 13 a Softmax was over all axes from its axis on."""
    written = model("y = Softmax <axis = 1> (x)")
    written.opset_import[0].version = 11
    with pytest.raises(ValueError, match="a Softmax of opset 11"):
        raise_opset(written, OPSET)


def test_details_of_the_exporter_are_not_in_the_file() -> None:
    written = model("y = Relu (x)")
    (node,) = written.graph.node
    for each in (written.graph, node, written.graph.input[0]):
        each.metadata_props.add(key="namespace", value="secret")
    node.metadata_props.add(key=SCOPES, value="['', 'encoder', 'relu']")
    written.metadata_props.add(key="model", value="kept")
    lower_versions(written, "core.onnx")
    assert b"secret" not in written.SerializeToString()
    assert written.metadata_props[0].value == "kept"
    assert [each.key for each in node.metadata_props] == [SCOPES]


def definitions(operator: str) -> list[defs.OpSchema]:
    """The definitions of an operator that opsets 11 to 19 have."""
    history = {
        defs.get_schema(operator, opset).since_version: defs.get_schema(operator, opset)
        for opset in range(onnx_versions._SAME_SINCE[operator], 20)
    }
    return list(history.values())


@pytest.mark.parametrize("operator", sorted(onnx_versions._SAME_SINCE))
def test_newer_definitions_only_add_what_has_a_default(operator: str) -> None:
    """What the table claims, as far as definitions show it."""
    for older, newer in zip(definitions(operator)[:-1], definitions(operator)[1:], strict=True):
        reduction = operator in onnx_versions._REDUCTIONS and newer.since_version == 18
        gone = older.attributes.keys() - newer.attributes.keys()
        moved = {"axes"} if reduction else {"split"} if operator == "Split" else set[str]()
        assert gone <= moved
        for name in newer.attributes.keys() - older.attributes.keys():
            assert not newer.attributes[name].required
        for name in newer.attributes.keys() & older.attributes.keys():
            before, after = older.attributes[name], newer.attributes[name]
            assert before.default_value == after.default_value
        assert newer.min_input <= older.min_input
        for before, after in zip(older.inputs, newer.inputs, strict=False):
            # Opset 13 took integers out of Erf, which no exporter gives it.
            assert before.types <= after.types or operator == "Erf"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("versions") / "bundle"
    loaded = load_model("wave-unet-16k", seed=1)
    return export_onnx(loaded, path, streaming=StreamingOptions()).path


def test_the_files_of_a_bundle_run_where_older_ones_did(bundle: Path) -> None:
    from frcrn_export.runtime.bundle.reader import open_bundle

    found = {
        entry.path: (entry.opset, entry.ir_version, entry.min_onnxruntime)
        for entry in open_bundle(bundle).manifest.files
        if entry.format == "onnx"
    }
    assert found == {
        "core.onnx": (11, 8, "1.9"),
        "core.streaming.onnx": (11, 8, "1.9"),
    }
    for path, (opset, ir_version, _) in found.items():
        written = onnx.load(bundle / path)
        assert (opset_of(written), written.ir_version) == (opset, ir_version)
        raised = onnx.load(bundle / path)
        raise_opset(raised, OPSET)
        for low, high in zip(outputs(written), outputs(raised), strict=True):
            np.testing.assert_array_equal(low, high)


def outputs(written: onnx.ModelProto) -> list[np.ndarray]:
    """All outputs for noise of one row."""
    session = onnxruntime.InferenceSession(
        written.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    sizes = {"batch": 1, "samples": 2_048}
    feeds = {
        value.name: rng.standard_normal([sizes.get(size, size) for size in value.shape])
        for value in session.get_inputs()
    }
    return list(session.run(None, {n: each.astype(np.float32) for n, each in feeds.items()}))


def test_the_error_names_the_opset_that_does_for_every_file(tmp_path: Path) -> None:
    loaded = load_model("wave-unet-12x24", seed=1)
    with pytest.raises(OpsetTooLow, match=r"core.onnx: needs opset 15, not 12 \(Shape 15, "):
        export_onnx(loaded, tmp_path / "new", fp16=True, opset=12)
    assert not (tmp_path / "new").exists()


def entry(opsets: Sequence[tuple[str, int]]) -> FileEntry:
    described = helper.make_model(
        helper.make_graph([], "empty", [], []),
        opset_imports=[helper.make_opsetid(*each) for each in opsets],
    )
    file = FileEntry(
        path="core.onnx", role="core", format="onnx", precision="fp32", sha256="0" * 64, bytes=0
    )
    return with_versions(file, described)


def test_the_least_onnx_runtime_follows_from_the_opset() -> None:
    found = [entry([("", opset)]).min_onnxruntime for opset in (11, 15, 17, 18, 19, 22)]
    assert found == ["1.9", "1.9", "1.12", "1.14", "1.15", None]
