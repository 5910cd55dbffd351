import dataclasses
import os
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions import onnx
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.sessions.session import Session
from tests.bundles import STFT, manifest, replace_core, write_bundle

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def opened(path: Path, backend: str, **kwargs: object) -> Session:
    return open_session(open_bundle(write_bundle(path, gain=2.0, **kwargs)), backend)


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cpu"])
def test_any_batch_and_length_run(
    tmp_path: Path, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    session = opened(tmp_path / "bundle", backend, described=manifest(stft=STFT))
    assert session.backend == backend
    assert session.entry.path == "core.onnx"
    for shape in [(1, 2, 321, 5), (3, 2, 321, 1)]:
        inputs = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        output = session.run(inputs)
        assert output.dtype == np.float32
        np.testing.assert_array_equal(output, 2 * inputs)
    assert capfd.readouterr() == ("", "")


def test_threads_are_limited(tmp_path: Path) -> None:
    root = open_bundle(write_bundle(tmp_path / "bundle"))
    session = open_session(root, threads=1)
    assert session.session.get_session_options().intra_op_num_threads == 1
    # As many would be started, and wait for each other for minutes.
    session = open_session(root, threads=100_000)
    assert session.session.get_session_options().intra_op_num_threads == os.cpu_count()


def test_a_shape_the_core_does_not_take_is_an_error(tmp_path: Path) -> None:
    session = opened(tmp_path / "bundle", "onnxruntime-cpu", samples=16_384)
    with pytest.raises(BackendError, match=r"is \[batch, 1, 16384\], got \[1, 1, 16000\]"):
        session.run(np.zeros((1, 1, 16_000), np.float32))


@pytest.mark.skipif(HAS_CUDA, reason="needs no GPU: an ONNX Runtime without CUDA")
@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_provider_that_is_not_installed_is_named(tmp_path: Path, backend: str) -> None:
    with pytest.raises(BackendError, match="ExecutionProvider") as caught:
        opened(tmp_path / "bundle", backend)
    assert 'pip install "frcrn-export[gpu]"' in str(caught.value)


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cpu"])
def test_a_file_that_is_no_onnx_is_an_error(tmp_path: Path, backend: str) -> None:
    root = write_bundle(tmp_path / "bundle")
    replace_core(root, b"not a graph")
    with pytest.raises(BackendError, match=r"core\.onnx"):
        open_session(open_bundle(root), backend)


def written_for(opset: int, ir_version: int, operator: str = "Identity") -> bytes:
    """A core that asks its reader for these versions."""
    value = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 1, "samples"])
    result = helper.make_tensor_value_info("enhanced", TensorProto.FLOAT, ["batch", 1, "samples"])
    node = helper.make_node(operator, ["inputs"], ["enhanced"])
    model = helper.make_model(
        helper.make_graph([node], "core", [value], [result]),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
    )
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cpu"])
@pytest.mark.parametrize(
    ("content", "reason", "command"),
    [
        (
            written_for(18, 99),
            r"\(Unsupported model IR version: 99, max supported IR version: \d+\)",
            "pip install --upgrade onnxruntime",
        ),
        (written_for(999, 8), r"\(.*till opset \d+.*\)", "pip install --upgrade onnxruntime"),
        (written_for(18, 8, "Denoise"), r"\(.*Denoise.*\)", "frcrn-export onnx --model gain"),
    ],
)
def test_onnx_runtime_s_reason_and_the_next_command(
    tmp_path: Path, backend: str, content: bytes, reason: str, command: str
) -> None:
    root = write_bundle(tmp_path / "bundle")
    replace_core(root, content)
    with pytest.raises(BackendError, match=rf"ONNX Runtime \d.*{reason}") as caught:
        open_session(open_bundle(root), backend)
    assert f"; run: {command}" in str(caught.value)
    assert ".cc" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_a_file_that_needs_a_newer_onnx_runtime_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_bundle(tmp_path / "bundle")
    replace_core(root, written_for(18, 8, "Denoise"))
    bundle = open_bundle(root)
    (core,) = (file for file in bundle.manifest.files if file.role == "core")
    newer = msgspec.structs.replace(core, min_onnxruntime="1.20")
    described = msgspec.structs.replace(bundle.manifest, files=(newer,))
    monkeypatch.setattr(onnxruntime, "__version__", "1.9.1")
    with pytest.raises(BackendError, match=r"Runtime 1\.9\.1 .*run: pip install --upgrade onnxr"):
        open_session(dataclasses.replace(bundle, manifest=described))


def test_threads_are_as_many_as_a_quota_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = open_bundle(write_bundle(tmp_path / "bundle"))

    def threads() -> int:
        session = open_session(root)
        count: int = session.session.get_session_options().intra_op_num_threads
        return count

    monkeypatch.setattr(onnx, "usable_processors", lambda: 3)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert threads() == 3
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert threads() == 0  # ONNX Runtime's own choice


def test_names_in_a_file_that_are_not_utf_8(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "bundle")
    core = (root / "core.onnx").read_bytes()
    for name in (b"inputs", b"samples"):
        replace_core(root, core.replace(name, b"\xff" + name[1:]))
        with pytest.raises(BackendError, match=r"core\.onnx"):
            open_session(open_bundle(root), "onnxruntime-cpu")
