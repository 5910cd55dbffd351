import sys
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.registry import BACKENDS, open_session
from frcrn_export.runtime.sessions.session import check_input
from tests.bundles import core_entry, manifest, write_bundle, write_manifest
from tests.streaming_bundles import Core, write_streaming_bundle


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("tensorrt-rx", "tensorrt-rtx"), ("torch", "torchscript"), ("cpu", "onnxruntime-cpu")],
)
def test_the_nearest_name_is_suggested(tmp_path: Path, typed: str, meant: str) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "bundle"))
    with pytest.raises(BackendError) as caught:
        open_session(bundle, typed)
    assert f"did you mean {meant}?" in str(caught.value)
    assert all(name in str(caught.value) for name in ("auto", *BACKENDS))


@pytest.mark.parametrize(
    ("formats", "backend"),
    [
        (("onnx",), "onnxruntime"),
        (("torchscript", "onnx"), "onnxruntime"),
    ],
)
def test_auto_takes_what_the_bundle_has(tmp_path: Path, formats: tuple, backend: str) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "bundle", formats=formats))
    assert open_session(bundle).backend == backend


def test_auto_takes_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never TorchScript, which runs code."""
    bundle = open_bundle(write_bundle(tmp_path / "bundle", formats=("onnx", "torchscript")))
    assert open_session(bundle).backend == "onnxruntime"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # makes `import onnxruntime` fail
    with pytest.raises(BackendError, match=r'pip install "frcrn-export\[cpu\]"'):
        open_session(bundle)


@pytest.mark.parametrize(
    ("backend", "package", "extra"),
    [
        ("onnxruntime", "onnxruntime", "cpu"),
        ("onnxruntime-cuda", "onnxruntime", "gpu"),
        ("torchscript", "torch", "export"),
    ],
)
def test_a_missing_backend_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, package: str, extra: str
) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "bundle", formats=("onnx", "torchscript")))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError) as caught:
        open_session(bundle, backend)
    assert f'run: pip install "frcrn-export[{extra}]"' in str(caught.value)


def test_no_name_is_suggested_where_none_is_near(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"unknown backend 'foo'; there are: auto, onnxruntime"):
        open_session(open_bundle(write_bundle(tmp_path / "bundle")), "foo")


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one_are_refused(tmp_path: Path, threads: int) -> None:
    with pytest.raises(UserError, match=f"threads={threads}: give at least 1"):
        open_session(open_bundle(write_bundle(tmp_path / "bundle")), threads=threads)


def test_a_bundle_without_the_file_says_how_to_make_it(tmp_path: Path) -> None:
    onnx = open_bundle(write_bundle(tmp_path / "onnx"))
    with pytest.raises(
        BackendError, match="run: frcrn-export torchscript --model gain --random-weights 0 -o"
    ):
        open_session(onnx, "torchscript")
    script = open_bundle(write_bundle(tmp_path / "script", formats=("torchscript",)))
    with pytest.raises(
        BackendError, match="run: frcrn-export onnx --model gain --random-weights 0 -o NEW_BUNDLE"
    ):
        open_session(script, "onnxruntime-cpu")
    (tmp_path / "empty").mkdir()
    write_manifest(tmp_path / "empty", manifest())
    with pytest.raises(BackendError, match="no file in this bundle that can be run"):
        open_session(open_bundle(tmp_path / "empty"))
    streams = open_bundle(write_streaming_bundle(tmp_path / "a b", Core()))
    with pytest.raises(BackendError, match=f"run: frcrn-export stream '{tmp_path}/a b' < IN.wav >"):
        open_session(streams)


def test_inputs_of_another_shape_are_refused() -> None:
    entry = core_entry(samples=16_384)
    check_input(entry, np.zeros((3, 1, 16_384), np.float32))
    for shape in [(1, 1, 16_000), (1, 2, 16_384), (1, 16_384)]:
        with pytest.raises(BackendError) as caught:
            check_input(entry, np.zeros(shape, np.float32))
        assert "core.onnx: input 'inputs' is [batch, 1, 16384]" in str(caught.value)
        assert str(list(shape)) in str(caught.value)
