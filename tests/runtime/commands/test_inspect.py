import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from frcrn_export.runtime.bundle.manifest import Assumption, Weights
from frcrn_export.runtime.commands.inspect import inspect_bundle
from frcrn_export.runtime.errors import BundleError
from tests.bundles import manifest, replace_core, write_bundle


def shown(capsys: pytest.CaptureFixture[str], root: Path, *, as_json: bool = False) -> str:
    inspect_bundle(root, as_json)
    return capsys.readouterr().out


def masking(operator: str, domain: str = "") -> bytes:
    """A core that a node nobody knows may stand in front of."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("inputs", "y"))
    x = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 1, "samples"])
    weight = numpy_helper.from_array(np.zeros((4, 1, 3), np.float32), "w")
    nodes = [
        helper.make_node(operator, ["inputs"], ["a"], domain=domain),
        helper.make_node("Conv", ["a", "w"], ["y"], pads=[1, 1]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)]
    content: bytes = helper.make_model(graph, opset_imports=opsets).SerializeToString()
    return content


def test_the_cost_of_a_second_of_audio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bundle(tmp_path / "bundle")
    replace_core(root, masking("Relu"))
    found = json.loads(shown(capsys, root, as_json=True))["graphs"]["core.onnx"]
    assert found["flop"] == 2 * 16_000 * 4 * 3
    assert "GFLOP" in shown(capsys, root)


def test_a_cost_that_cannot_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bundle(tmp_path / "bundle")
    replace_core(root, masking("Mystery", "elsewhere"))
    found = json.loads(shown(capsys, root, as_json=True))["graphs"]["core.onnx"]
    assert found["flop"] is None
    out = shown(capsys, root)
    assert "unknown" in out
    assert "GFLOP" not in out


def test_what_was_taken_and_what_was_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = Weights(source="checkpoint", name="w.pt", sha256="0" * 64, state_dict="ema")
    assumed = Assumption(setting="causal", value="true", reason="not said; see --non-causal")
    described = msgspec.structs.replace(
        manifest(level="peak"),
        weights=weights,
        variant={"causal": True, "level": "peak"},
        assumptions=(assumed,),
    )
    out = shown(capsys, write_bundle(tmp_path / "bundle", described))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["state dict", "ema"] in rows
    assert ["causal", "true", "not said; see --non-causal"] in rows
    assert [row for row in rows if row[:1] in (["level"], ["level rule"])] == [["level", "peak"]]
    plain = shown(capsys, write_bundle(tmp_path / "plain"))
    assert "Assumed" not in plain
    assert "the only one" in plain


def test_a_file_that_is_no_graph_is_one_line(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "bundle")
    replace_core(root, b"\x12\xff\xff")
    with pytest.raises(BundleError, match=r"core\.onnx: not an ONNX graph"):
        inspect_bundle(root, as_json=False)
