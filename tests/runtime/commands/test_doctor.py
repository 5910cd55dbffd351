import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from frcrn_export.runtime import family_packages
from frcrn_export.runtime import gpu as runtime_gpu
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.commands.doctor import Ability, examine
from tests.standin.install import simulated_gpu


def ability(name: str) -> Ability:
    return next(found for found in examine().abilities if found.name == name)


@pytest.mark.parametrize(
    ("backends", "builds", "classic", "rtx"),
    [
        (("tensorrt", "tensorrt-rtx"), True, True, True),
        (("tensorrt",), True, True, False),
        (("tensorrt-rtx",), True, False, True),
        ((), False, False, False),
    ],
)
def test_with_a_gpu_it_depends_on_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    backends: tuple[TensorrtBackend, ...],
    builds: bool,
    classic: bool,
    rtx: bool,
) -> None:
    with simulated_gpu(monkeypatch, tmp_path, backends):
        build = ability("build engines")
        assert (build.works, build.remedy) == (builds, 'pip install "frcrn-export[rtx]"')
        run = ability("run TensorRT engines")
        assert (run.works, run.remedy) == (classic, 'pip install "frcrn-export[trt]"')
        run = ability("run TensorRT-RTX engines")
        assert (run.works, run.remedy) == (rtx, 'pip install "frcrn-export[rtx]"')


def test_a_gpu_that_a_backend_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with simulated_gpu(monkeypatch, tmp_path) as gpu:
        gpu.capability = (9, 0)
        assert ability("run TensorRT engines").works
        run = ability("run TensorRT-RTX engines")
        assert (run.works, run.remedy) == (False, "")
        assert run.detail == "a GPU that it serves is needed; SM 9.0 is here"


def no_driver() -> None:
    raise OSError("libcuda.so.1: cannot open shared object file")


def test_without_a_gpu_rtx_builds_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with simulated_gpu(monkeypatch, tmp_path):
        monkeypatch.setattr(runtime_gpu, "load_driver", no_driver)
        assert examine().gpu == ""
        assert ability("build engines").works
        run = ability("run TensorRT engines")
        assert (run.works, run.remedy) == (False, "")
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
        assert not ability("build engines").works


def test_engines_need_cuda_core_and_the_gpu_is_seen_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with simulated_gpu(monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "cuda.core", None)
        assert examine().gpu == "NVIDIA GeForce RTX 4090 D, 1.0 GiB, SM 8.9, CUDA 13.2"
        run = ability("run TensorRT engines")
        assert (run.works, run.remedy) == (False, 'pip install "frcrn-export[trt]"')


def test_the_packages_of_engines_are_listed() -> None:
    listed = examine().packages
    assert {"tensorrt", "tensorrt-rtx", "cuda-core", "cuda-bindings"} <= set(listed)


def test_families_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that works, one of the same name, one that does not import, one that is not there."""
    package = ModuleType("a_package")
    package.FAMILY = SimpleNamespace(name="one")  # type: ignore[attr-defined]
    output = SimpleNamespace(kind="text", flag="--output")
    package.TAKES = SimpleNamespace(name="two", options=(output,))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_package", package)
    named = ("a_package:FAMILY", "a_package:FAMILY", "no_such_package:FAMILY", "a_package:LATER")
    values = (*named, "a_package:TAKES")
    entries = [EntryPoint(f"f{i}", v, family_packages.GROUP) for i, v in enumerate(values)]
    monkeypatch.setattr(family_packages, "entry_points", lambda group: entries)
    found = [a for a in examine().abilities if a.name.startswith("use the family")]
    assert [(a.name.split()[3], a.works) for a in found] == [
        ("f0", True),
        ("f1", False),
        ("f2", False),
        ("f3", False),
        ("f4", False),
    ]
    assert found[1].detail == (
        "left out: the family of f0 (a_package:FAMILY) has the same name 'one'"
    )
    assert found[2].detail == "left out: ModuleNotFoundError: No module named 'no_such_package'"
    assert "AttributeError" in found[3].detail
    assert "its option --output is one of the commands' own" in found[4].detail


def fails(*args: object, **kwargs: object) -> None:
    raise RuntimeError("[ONNXRuntimeError] : 6 : FAIL : no such instruction")


def test_a_backend_that_is_installed_and_does_not_run_is_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ability("run ONNX on the CPU").works
    monkeypatch.setattr("onnxruntime.InferenceSession", fails)
    found = ability("run ONNX on the CPU")
    assert (found.works, found.detail) == (False, "installed, but fails: no such instruction")
    assert found.remedy == 'pip install --force-reinstall "frcrn-export[cpu]"'


def test_a_backend_that_computes_something_else_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    session = SimpleNamespace(
        get_providers=lambda: ["CPUExecutionProvider"], run=lambda names, feeds: [feeds["x"]]
    )
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *args, **kwargs: session)
    found = ability("run ONNX on the CPU")
    assert "computes [1.0, -2.5, 3.0] where 2 x is right" in found.detail


def test_a_package_that_does_not_import_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # present, and not importable
    found = ability("run ONNX on the CPU")
    assert not found.works
    assert "onnxruntime" in found.detail


def test_torchscript_is_saved_loaded_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert ability("run TorchScript").works
    monkeypatch.setattr(torch.jit, "load", fails)
    assert "installed, but fails: " in ability("run TorchScript").detail


def test_the_libraries_of_tensorrt_are_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with simulated_gpu(monkeypatch, tmp_path):
        monkeypatch.setattr(sys.modules["tensorrt_rtx"], "Builder", fails)
        monkeypatch.setattr(sys.modules["tensorrt"], "Runtime", fails)
        for name in ("build engines", "run TensorRT engines"):
            assert ability(name).detail.startswith("installed, but fails: ")
        assert ability("run TensorRT-RTX engines").works
