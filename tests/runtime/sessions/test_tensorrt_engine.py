import sys
from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import driver_cuda
from frcrn_export.runtime.sessions.registry import open_session
from tests.bundles import write_bundle, write_manifest
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine

TENSORRT_BACKENDS: tuple[TensorrtBackend, ...] = ("tensorrt", "tensorrt-rtx")


def write_engine(path: Path, backend: TensorrtBackend, **changes: object) -> Path:
    root = write_bundle(path)
    shapes = {"low": (1, 1, 1), "best": (1, 1, 100), "high": (4, 1, 1000)}
    add_engine(root, backend, **{**shapes, **changes})
    return root


def refusal(root: Path, backend: TensorrtBackend) -> str:
    """What opening the engine says; one line, with exit code 2."""
    with pytest.raises(BackendError) as caught:
        open_session(open_bundle(root), backend)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rebuild(root: Path, backend: TensorrtBackend, gpu: str = "rtx4090d") -> str:
    return (
        f"run: frcrn-export trt {root} --fp16 --batch 1:1:4 --samples 1:100:1000 --gpu {gpu} "
        f"--backend {backend} --force"
    )


@pytest.mark.parametrize(("backend", "extra"), [("tensorrt", "trt"), ("tensorrt-rtx", "rtx")])
def test_a_backend_that_is_not_installed(
    gpu: SimulatedGpu,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: TensorrtBackend,
    extra: str,
) -> None:
    root = write_engine(tmp_path / "bundle", backend)
    monkeypatch.setitem(sys.modules, backend.replace("-", "_"), None)
    assert refusal(root, backend).endswith(f'run: pip install "frcrn-export[{extra}]"')


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_another_version(gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend) -> None:
    root = write_engine(tmp_path / "bundle", backend, version="1.6.0.1")
    installed = sys.modules[backend.replace("-", "_")].__version__
    assert refusal(root, backend) == (
        f"core.fp16.sm89.{backend}.engine is for {backend} 1.6.0.1, and {installed} is installed; "
        + rebuild(root, backend)
    )


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_a_driver_that_is_too_old(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    gpu.driver_cuda = 12040
    root = write_engine(tmp_path / "bundle", backend)
    said = refusal(root, backend)
    assert "needs a driver for CUDA 13, this one serves CUDA 12.4; update it" in said
    assert said.endswith(rebuild(root, backend, "auto"))


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
@pytest.mark.parametrize(("sm", "text"), [(120, "12.0"), (86, "8.6")])
def test_another_gpu(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend, sm: int, text: str
) -> None:
    root = write_engine(tmp_path / "bundle", backend, sm=sm)
    assert refusal(root, backend) == (
        f"core.fp16.sm{sm}.{backend}.engine is for rtx4090d (SM {text}), this GPU is NVIDIA "
        f"GeForce RTX 4090 D (SM 8.9); {rebuild(root, backend, 'auto')}"
    )


def test_hardware_compatible_engines_run_on_later_gpus_only(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    later = write_engine(tmp_path / "later", "tensorrt", sm=80, hardware_compatible=True)
    assert open_session(open_bundle(later), "tensorrt").device == "cuda"
    earlier = write_engine(tmp_path / "earlier", "tensorrt", sm=90, hardware_compatible=True)
    assert "(SM 9.0), this GPU is" in refusal(earlier, "tensorrt")


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_a_plan_that_cannot_be_deserialized(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    root = write_engine(tmp_path / "bundle", backend, plan=b"not a plan")
    assert refusal(root, backend) == (
        f"core.fp16.sm89.{backend}.engine: {backend} cannot load it "
        "(IRuntime::deserializeCudaEngine: Error Code 1: Serialization assertion "
        "header.magicTag == kEXPECTED_MAGIC_TAG); " + rebuild(root, backend)
    )


def test_a_plan_of_the_other_backend(gpu: SimulatedGpu, tmp_path: Path) -> None:
    built = write_engine(tmp_path / "built", "tensorrt-rtx")
    plan = (built / "core.fp16.sm89.tensorrt-rtx.engine").read_bytes()
    root = write_engine(tmp_path / "bundle", "tensorrt", plan=plan)
    assert "header.pad == expectedPlatformTag" in refusal(root, "tensorrt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "spec"}, "has input 'inputs' FLOAT, output 'enhanced' FLOAT, the manifest says "),
        ({"dtype": "float16"}, "the manifest says input 'inputs' float16, output 'enhanced' FLOAT"),
    ],
)
def test_other_tensors_than_the_manifest_says(
    gpu: SimulatedGpu, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    root = write_engine(tmp_path / "bundle", "tensorrt")
    described = open_bundle(root).manifest
    core, engine, layers = described.files
    wrong = msgspec.structs.replace(engine.inputs[0], **change)
    engine = msgspec.structs.replace(engine, inputs=(wrong,))
    write_manifest(root, msgspec.structs.replace(described, files=(core, engine, layers)))
    message = refusal(root, "tensorrt")
    assert said in message
    assert message.endswith(rebuild(root, "tensorrt"))


def has_driver() -> bool:
    return driver_cuda() is not None


def test_without_a_driver_the_real_tensorrt_rtx_is_not_reached(tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    if has_driver():
        pytest.skip("needs no GPU: no NVIDIA driver")
    root = write_engine(tmp_path / "bundle", "tensorrt-rtx", version=rtx.__version__)
    said = refusal(root, "tensorrt-rtx")
    assert said.startswith("no NVIDIA driver, or no GPU that it can use (")
    assert said.endswith("; run: frcrn-export doctor")


def test_the_real_tensorrt_rtx_of_another_version(tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    root = write_engine(tmp_path / "bundle", "tensorrt-rtx", version="1.0.0")
    said = refusal(root, "tensorrt-rtx")
    assert f"is for tensorrt-rtx 1.0.0, and {rtx.__version__} is installed" in said


def test_the_real_tensorrt_rtx_says_why_it_refuses_a_plan(tmp_path: Path) -> None:
    """The logger and the call are the real ones; only the driver's facts are made up."""
    rtx = pytest.importorskip("tensorrt_rtx")
    from frcrn_export.runtime.gpu import Gpu
    from frcrn_export.runtime.sessions import tensorrt_engine

    root = write_engine(
        tmp_path / "bundle", "tensorrt-rtx", version=rtx.__version__, plan=b"x" * 1000
    )
    bundle = open_bundle(root)
    entry = bundle.manifest.files[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt_engine, "first_gpu", lambda: Gpu("GPU", 89, (13, 0), 1))
        patch.setattr(tensorrt_engine, "use_gpu", lambda: None)
        with pytest.raises(BackendError, match=r"cannot load it \(.*magicTag"):
            tensorrt_engine.load_engine(bundle, entry)
