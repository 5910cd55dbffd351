import shutil
from pathlib import Path
from typing import Any

import pytest

from frcrn_export.runtime.bundle.manifest import Precision, TensorrtBackend
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BundleError, UserError
from frcrn_export.runtime.pack.selection import Use, Wanted, select_files
from frcrn_export.runtime.pack.target import find_target
from tests.bundles import write_bundle
from tests.int8_standins import add_int8, scaled
from tests.runtime.pack.bundles import add_stub, write_full_bundle
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_full_bundle(tmp_path_factory.mktemp("full") / "bundle")
    add_stub(path, "core.int8.cpu.quality.json", "report", "json")
    for source in ("core.onnx", "core.streaming.onnx"):
        report = "core.int8.cpu.quality.json" if source == "core.onnx" else None
        add_int8(path, lambda model: scaled(model, 1.001), "cpu", source, report=report)
        add_int8(path, lambda model: scaled(model, 1.001), "tensorrt", source)
    return path


@pytest.fixture
def bundle(full: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(full, tmp_path / "bundle"))


def selected(
    path: Path, target: str = "cpu", *uses: Use, precision: Precision | None = None
) -> set[str]:
    files = select_files(open_bundle(path), Wanted(find_target(target), uses, precision))
    return {entry.path for entry in files}


OFFLINE, STREAMING = {"core.onnx", "core.long.onnx"}, {"core.streaming.onnx"}


@pytest.mark.parametrize("target", ["cpu", "arm64"])
@pytest.mark.parametrize(
    ("uses", "files"),
    [
        ((), OFFLINE | STREAMING),
        (("offline",), OFFLINE),
        (("streaming",), STREAMING),
        (("offline", "streaming"), OFFLINE | STREAMING),
    ],
)
def test_a_processor_takes_its_onnx_files(
    full: Path, target: str, uses: tuple[Use, ...], files: set[str]
) -> None:
    assert selected(full, target, *uses) == files


def test_int8_for_processors_comes_with_its_report_and_without_the_long_core(full: Path) -> None:
    assert selected(full, precision="int8") == {
        "core.int8.cpu.onnx",
        "core.int8.cpu.quality.json",
        "core.streaming.int8.cpu.onnx",
    }


def test_a_whole_pipeline_in_one_file(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle", role="pipeline")
    assert selected(path) == {"core.onnx"}


def test_what_the_bundle_has(tmp_path: Path) -> None:
    assert selected(write_bundle(tmp_path / "offline")) == {"core.onnx"}
    assert selected(write_streaming_bundle(tmp_path / "s", Core())) == STREAMING


def engine(path: Path, backend: TensorrtBackend = "tensorrt", **changes: Any) -> str:
    """An engine of the core: its file."""
    shapes = {"low": (1, 2, 321, 1), "best": (1, 2, 321, 50), "high": (1, 2, 321, 99)}
    entry = add_engine(path, backend, **{**shapes, "source": "core.onnx", **changes})
    return entry.path


def streams(path: Path, count: int, backend: TensorrtBackend = "tensorrt", **changes: Any) -> str:
    """An engine for so many streams."""
    shape = (count, 2, 321, 2)
    changes = {"source": "core.streaming.onnx", **changes}
    return add_engine(path, backend, low=shape, best=shape, high=shape, **changes).path


def with_layers(*engines: str) -> set[str]:
    return {*engines, *(f"{name}.layers.json" for name in engines)}


def test_engines_of_the_backend_that_run_on_the_gpu(bundle: Path) -> None:
    here, stream, many = engine(bundle), streams(bundle, 1), streams(bundle, 16)
    engine(bundle, sm=86)
    there = engine(bundle, "tensorrt-rtx")
    streams(bundle, 1, "tensorrt-rtx", sm=120)
    assert selected(bundle, "tensorrt:sm89") == with_layers(here, stream, many)
    assert selected(bundle, "tensorrt:sm89", "streaming") == with_layers(stream, many)
    assert selected(bundle, "tensorrt-rtx:sm89") == with_layers(there)


def test_one_engine_of_several_for_the_same(bundle: Path) -> None:
    older = engine(bundle, sm=80, hardware_compatible=True, precision="fp16")
    assert selected(bundle, "tensorrt:sm89") == with_layers(older)
    float32 = engine(bundle, precision="fp32")
    assert selected(bundle, "tensorrt:sm89") == with_layers(float32)
    float16, int8 = engine(bundle), engine(bundle, precision="int8")
    assert selected(bundle, "tensorrt:sm89") == with_layers(float16)
    assert selected(bundle, "tensorrt:sm89", precision="fp32") == with_layers(float32)
    assert selected(bundle, "tensorrt:sm89", precision="int8") == with_layers(int8)
    assert selected(bundle, "tensorrt:sm90") == with_layers(older)


def test_an_engine_without_weights_takes_its_source_along(bundle: Path) -> None:
    stripped = engine(bundle, stripped=True)
    assert selected(bundle, "tensorrt:sm89") == with_layers(stripped) | {"core.onnx"}


@pytest.mark.parametrize(
    ("target", "uses", "precision", "said"),
    [
        ("cpu", ("streaming",), None, r"no streaming ONNX file .*; gain cannot stream: leave out"),
        ("arm64", ("offline",), "int8", r"no int8 ONNX .*calibrate \S+ --for cpu --calib FOLDER$"),
        (
            "cpu",
            (),
            "int8",
            r"no int8 ONNX file for processors in this bundle; run: frcrn-expo",
        ),
        ("tensorrt:sm86", (), None, r"no tensorrt engine for sm86 .* trt \S+ --fp16 --gpu sm86 -"),
        (
            "tensorrt-rtx:sm89",
            ("streaming",),
            "fp32",
            r"no fp32 streaming tensorrt-rtx engine for sm89 in this bundle; "
            r"run: frcrn-export trt \S+ --fp32 --streaming --gpu sm89 --backend tensorrt-rtx$",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    target: str, uses: tuple[Use, ...], precision: Precision | None, said: str, tmp_path: Path
) -> None:
    path = write_bundle(tmp_path / "bundle", samples=16_384)
    with pytest.raises(BundleError, match=said):
        selected(path, target, *uses, precision=precision)


def test_a_streaming_bundle_has_no_core_for_recordings(tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "bundle", Core())
    with pytest.raises(BundleError, match=r"no ONNX file .*; run: frcrn-export onnx --model"):
        selected(path, "cpu", "offline")


@pytest.mark.parametrize("precision", ["fp16", "fp8"])
def test_a_precision_of_gpus_is_none_of_processors(precision: Precision, full: Path) -> None:
    with pytest.raises(UserError, match=f"leave out --precision {precision}"):
        selected(full, precision=precision)
