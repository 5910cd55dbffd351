import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.pairs import clean, noisy, pairs_folder  # noqa: F401  (fixtures)
from tests.skips import NoSkips

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel
    from frcrn_export.runtime.bundle.reader import Bundle

# The machines that run this are shared and slow at times; how long an example took proves nothing.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


# pytest-xdist gives its workers a terminal of 80 columns; commands are tested without one.
os.environ.pop("COLUMNS", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-skips"):
        config.pluginmanager.register(NoSkips())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first: at the end one process would wait for it."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees or touches the user's downloads."""
    before = os.environ.get("FRCRN_EXPORT_CACHE")
    os.environ["FRCRN_EXPORT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["FRCRN_EXPORT_CACHE"]
    else:
        os.environ["FRCRN_EXPORT_CACHE"] = before


@pytest.fixture(scope="session")
def wave_unet_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small Wave-U-Net with ONNX and TorchScript cores. Copy it to change it."""
    from frcrn_export.exporters.bundle import export_onnx, export_torchscript
    from frcrn_export.exporters.loading import load_model

    model = load_model("wave-unet-16k", seed=1)
    path = tmp_path_factory.mktemp("bundles") / "wave-unet"
    export_onnx(model, path)
    export_torchscript(model, path)
    return path


@pytest.fixture(scope="session")
def small_wave_model(tmp_path_factory: pytest.TempPathFactory) -> "LoadedModel":
    """A wave-unet-16k with bands and small layers."""
    from frcrn_export.exporters.loading import load_model
    from tests.wave_unets import write_small_wave

    return load_model(checkpoint=write_small_wave(tmp_path_factory.mktemp("small") / "small.pth"))


@pytest.fixture(scope="session")
def small_wave_bundle(
    small_wave_model: "LoadedModel", tmp_path_factory: pytest.TempPathFactory
) -> "Bundle":
    """Its bundle with all float16 files. Copy it to change it."""
    from frcrn_export.exporters.bundle import export_onnx
    from frcrn_export.exporters.streaming_export import StreamingOptions

    path = tmp_path_factory.mktemp("bundle") / "small"
    return export_onnx(small_wave_model, path, fp16=True, streaming=StreamingOptions(chunk=8))


@pytest.fixture(scope="session")
def engine_bundle(wave_unet_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle above with core.fp16.onnx and a TensorRT-RTX engine for SM 8.9. Copy to change."""
    from frcrn_export.cli import main

    path = tmp_path_factory.mktemp("bundles") / "engines"
    shutil.copytree(wave_unet_bundle, path)
    with pytest.raises(SystemExit) as left:
        main(["trt", str(path), "--fp16", "--backend", "tensorrt-rtx"])
    assert not left.value.code
    return path
