import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from frcrn_export.engines.build import read_source
from frcrn_export.runtime.bundle.layer_report import OnnxNode
from frcrn_export.runtime.errors import BackendError, UserError
from tests.engines.tiny import tiny_core, tiny_int8_core, tiny_model


def test_reads_a_core_with_the_types_of_its_nodes(tmp_path: Path) -> None:
    path = tiny_core(tmp_path / "core.onnx")
    source = read_source(path)
    assert source.model == path.read_bytes()
    assert source.input == "spec"
    assert source.nodes["node_conv2d"] == OnnxNode(op_type="Conv", dtype="Half")
    assert source.nodes["to_float"] == OnnxNode(op_type="Cast", dtype="Float")
    assert source.nodes["node_mul"] == OnnxNode(op_type="Mul", dtype="Float")


def test_knows_what_the_file_quantizes(tmp_path: Path) -> None:
    source = read_source(tiny_int8_core(tmp_path / "core.int8.onnx"))
    assert [name for name, node in source.nodes.items() if node.quantized] == ["node_conv2d_1"]


def test_a_folder_a_missing_file_and_garbage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.onnx: No such file"):
        read_source(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match="Is a directory"):
        read_source(tmp_path)
    for data, reason in [(b"PK\x03\x04 no", "not an ONNX file"), (b"", "without nodes")]:
        path = tmp_path / "bad.onnx"
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"bad\.onnx: .*{reason}.*; give a core"):
            read_source(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tiny_core(tmp_path / "core.onnx")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"core\.onnx: "):
        read_source(path)


SECOND = helper.make_tensor_value_info("state", TensorProto.FLOAT, [1])
LOOP = helper.make_node("Scan", ["a"], ["b"], "node_scan", num_scan_inputs=1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input_name": "image"}, "its input is 'image', a core's is spec or wave"),
        ({"extra_inputs": (SECOND,)}, "2 inputs and 1 outputs where a core has one of each"),
        ({"output_type": TensorProto.FLOAT16}, "enhanced is not float32"),
        ({"extra_nodes": (LOOP,)}, "node 'node_scan' is a Scan, which a core does not have"),
    ],
)
def test_refuses_what_is_not_a_core(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    path = tiny_core(tmp_path / "other.onnx", **changes)
    with pytest.raises(UserError, match=reason) as caught:
        read_source(path)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


def test_refuses_weights_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "core.onnx"
    onnx.save(tiny_model(), path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(UserError, match="its weights lie in another file"):
        read_source(path)


def test_without_onnx_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendError, match=r'pip install "frcrn-export\[export\]"'):
        read_source(tmp_path / "core.onnx")
