from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from frcrn_export.runtime.bundle.onnx_file import foreign_part
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.registry import open_session
from tests.bundles import replace_core, write_bundle

FLOATS = ["batch", 1, "samples"]


def value(name: str, kind: int = TensorProto.FLOAT, shape: list[int | str] | None = None) -> object:
    return helper.make_tensor_value_info(name, kind, FLOATS if shape is None else shape)


def tensor(name: str, kind: int, values: object) -> object:
    return helper.make_tensor(name, kind, [], [values])


def core(node: object, constants: list[object]) -> onnx.ModelProto:
    """A core of one node."""
    graph = helper.make_graph([node], "g", [value("inputs")], [value("enhanced")], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def endless() -> onnx.ModelProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Neg", ["before"], ["after"]),
        ],
        "body",
        [
            value("step", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("before"),
        ],
        [value("still", TensorProto.BOOL, []), value("after")],
    )
    constants = [
        tensor("most", TensorProto.INT64, 2**62),
        tensor("yes", TensorProto.BOOL, True),
    ]
    loop = helper.make_node("Loop", ["most", "yes", "inputs"], ["enhanced"], body=body)
    return core(loop, constants)


def branch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The nodes of a model on both sides of an If."""
    sides = []
    for name in ("then", "else"):
        side = helper.make_graph(model.graph.node, name, [], model.graph.output)
        sides.append(side)
    node = helper.make_node("If", ["yes"], ["enhanced"], then_branch=sides[0], else_branch=sides[1])
    return core(node, list(model.graph.initializer))


def scans(depth: int) -> onnx.ModelProto:
    """Scans in one another."""
    row: list[int | str] = ["samples"]
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [value("x", shape=row)],
        [value("y", shape=row)],
    )
    for _ in range(depth):
        node = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
        body = helper.make_graph([node], "body", [value("x", shape=row)], [value("y", shape=row)])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)])


def external() -> onnx.ModelProto:
    node = helper.make_node("Mul", ["inputs", "gain"], ["enhanced"])
    model = core(node, [tensor("gain", TensorProto.FLOAT, 1.0)])
    (weight,) = model.graph.initializer
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    return model


def with_functions() -> onnx.ModelProto:
    model = core(helper.make_node("Neg", ["inputs"], ["enhanced"]), [])
    model.functions.append(
        helper.make_function("mine", "f", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [])
    )
    return model


def found(model: onnx.ModelProto, tmp_path: Path) -> str | None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return foreign_part(path)


def test_what_a_foreign_file_may_not_hold(tmp_path: Path) -> None:
    assert found(endless(), tmp_path) == "a node Loop, which may never end"
    assert found(branch(endless()), tmp_path) == "a node Loop, which may never end"
    assert found(scans(2), tmp_path) == "a node Scan in a Scan, which may never end"
    assert found(external(), tmp_path) == "weights that lie in another file"
    assert found(with_functions(), tmp_path) == "functions of its own"
    compiled = core(helper.make_node("EPContext", ["inputs"], ["enhanced"]), [])
    assert found(compiled, tmp_path) == "a node EPContext, which is compiled code"


def test_a_field_that_other_parsers_take_for_another(tmp_path: Path) -> None:
    """Protobuf keeps the lower 32 bits of a key: here those of functions, a field of 2 bytes."""
    key = 25 << 3 | 2 | 1 << 32
    hidden = bytes([key >> 7 * n & 0x7F | 0x80 for n in range(4)]) + bytes([key >> 28, 0])
    path = tmp_path / "m.onnx"
    path.write_bytes(hidden)
    with pytest.raises(ValueError, match="not an ONNX file"):
        foreign_part(path)


def test_more_nodes_than_a_network_has(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    nodes = b"\x0a\x00" * 100_001  # field 1 of a graph, empty
    size = bytes([len(nodes) & 0x7F | 0x80, len(nodes) >> 7 & 0x7F | 0x80, len(nodes) >> 14])
    path.write_bytes(b"\x3a" + size + nodes)
    assert foreign_part(path) == "more than 100000 nodes"


def test_a_file_larger_than_protobuf_can_be(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # a hole: no bytes on the disk
    with pytest.raises(ValueError, match="larger than 2 GB"):
        foreign_part(path)


def test_what_ends_is_taken(tmp_path: Path) -> None:
    plain = core(helper.make_node("Neg", ["inputs"], ["enhanced"]), [])
    for model in (plain, branch(plain), scans(1)):
        assert found(model, tmp_path) is None


def test_files_that_we_export_hold_none_of_it(wave_unet_bundle: Path) -> None:
    files = sorted(wave_unet_bundle.glob("*.onnx"))
    assert files
    assert [foreign_part(file) for file in files] == [None] * len(files)


@pytest.mark.parametrize("make", [endless, external, with_functions])
def test_a_session_is_refused_before_anything_runs(make: object, tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b")
    replace_core(root, make().SerializeToString())  # type: ignore[operator]
    for backend in ("auto", "onnxruntime-cpu"):
        with pytest.raises(BackendError, match=r"core\.onnx: it holds .*; run: frcrn-export onnx"):
            open_session(open_bundle(root), backend)


@settings(max_examples=200, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data)
    with suppress(ValueError, RecursionError):
        foreign_part(path)


def test_a_file_in_another_format_is_not_taken_for_its_name(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b")
    replace_core(root, b"\x08\x00\x00\x00ORTM" + bytes(64))
    with pytest.raises(BackendError, match=r"core\.onnx: "):
        open_session(open_bundle(root))
