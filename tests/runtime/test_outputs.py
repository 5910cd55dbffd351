"""What a network gives is looked at before anything is made of it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.verify.parity import FLOOR_DB
from tests.bundles import manifest, replace_core, write_bundle

AUDIO = np.linspace(-0.5, 0.5, 3_000, dtype=np.float32)


def write_core(root: Path, node: onnx.NodeProto, dtype: int = TensorProto.FLOAT) -> Path:
    """A bundle of a core of one node. Its `one` is 1.0, `zero` 0.0, `first` the index 0."""
    write_bundle(root, manifest())
    shape = ["batch", 1, "samples"]
    constants = [
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("twice", TensorProto.INT64, [3], [1, 1, 2]),
    ]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("enhanced", dtype, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    replace_core(root, model.SerializeToString())
    return root


NOT_FINITE = helper.make_node("Div", ["inputs", "zero"], ["enhanced"])


def test_what_is_not_finite_is_an_error_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from frcrn_export.cli import main

    root = write_core(tmp_path / "b", NOT_FINITE)
    with pytest.raises(BackendError) as caught:
        Denoiser.open(root)(AUDIO)
    assert str(caught.value) == (
        "core.onnx: onnxruntime gave samples that are NaN or infinite; run: frcrn-export onnx "
        "--model gain --random-weights 0 -o NEW_BUNDLE"
    )
    out = tmp_path / "out"
    out.mkdir()
    for samples in (3_000, 150_000, 44_100 * 3):
        soundfile.write(tmp_path / "a.wav", np.resize(AUDIO, samples), 44_100)
        with pytest.raises(SystemExit) as left:
            main(["denoise", str(root), str(tmp_path / "a.wav"), "-o", str(out / "b.wav")])
        assert left.value.code == 2
        assert "NaN or infinite" in capsys.readouterr().err
        assert list(out.iterdir()) == []


def test_what_measures_networks_sees_it(tmp_path: Path) -> None:
    root = write_core(tmp_path / "b", NOT_FINITE)
    session = open_session(open_bundle(root))
    output = Denoiser(open_bundle(root).manifest, session, finite=False)(AUDIO)
    assert not np.isfinite(output).all()
    assert FLOOR_DB["fp32"] == 90.0  # which this can never reach: see test_parity.py


@pytest.mark.parametrize(
    ("node", "dtype", "said"),
    [
        (
            helper.make_node("Cast", ["inputs"], ["enhanced"], to=TensorProto.DOUBLE),
            TensorProto.DOUBLE,
            "gives float64, not float32",
        ),
        (
            helper.make_node("SequenceConstruct", ["inputs"], ["enhanced"]),
            TensorProto.FLOAT,
            "gives list, not float32",
        ),
        (
            helper.make_node("Tile", ["inputs", "twice"], ["enhanced"]),
            TensorProto.FLOAT,
            r"gives \[1, 1, 16000\] for an input of \[1, 1, 8000\], the manifest says",
        ),
        (
            helper.make_node("ReduceMean", ["inputs"], ["enhanced"], keepdims=0),
            TensorProto.FLOAT,
            r"gives \[\] for an input",
        ),
    ],
)
def test_another_type_or_shape(tmp_path: Path, node: onnx.NodeProto, dtype: int, said: str) -> None:
    root = write_core(tmp_path / "b", node, dtype)
    if node.op_type == "SequenceConstruct":
        model = onnx.load(root / "core.onnx")
        element = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        model.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(element))
        replace_core(root, model.SerializeToString())
    session = open_session(open_bundle(root))
    with pytest.raises(BackendError, match=rf"core\.onnx: {said}"):
        session.run(np.zeros((1, 1, 8_000), np.float32))
