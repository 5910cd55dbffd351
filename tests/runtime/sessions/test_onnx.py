from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError
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
    session = open_session(open_bundle(write_bundle(tmp_path / "bundle")), threads=1)
    assert session.session.get_session_options().intra_op_num_threads == 1


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
