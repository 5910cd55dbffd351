"""A build of the C++ runtime for the tests that load it."""

import os
from pathlib import Path

import pytest

from tests.runtime.cpp.builds import make
from tests.runtime.cpp.library import Library
from tests.runtime.cpp.tool import Tool


@pytest.fixture(scope="session")
def cpp_build() -> Path:
    """The folder of the build, made by `make cpp` where it is out of date."""
    return make("cpp", "cpp")


@pytest.fixture(scope="session")
def onnxruntime_library() -> Path:
    """The library that ONNX Runtime's Python package brings."""
    import onnxruntime

    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    return found[0]


@pytest.fixture(scope="session")
def library(cpp_build: Path, onnxruntime_library: Path) -> Library:
    """libfrcrn, which finds ONNX Runtime through its environment variable.

    FRCRN_LIBRARY names another build of it, such as one with sanitizers.
    """
    os.environ["FRCRN_ONNXRUNTIME"] = str(onnxruntime_library)
    return Library(Path(os.environ.get("FRCRN_LIBRARY", cpp_build / "libfrcrn.so")))


@pytest.fixture(scope="session")
def tool(cpp_build: Path, onnxruntime_library: Path) -> Tool:
    """The program `frcrn`."""
    return Tool(cpp_build / "tool" / "frcrn", onnxruntime_library)


@pytest.fixture(scope="session")
def default_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model with its own weights: core and streaming core."""
    from frcrn_export.exporters.bundle import export_onnx
    from frcrn_export.exporters.loading import load_model
    from frcrn_export.exporters.streaming_export import StreamingOptions

    path = tmp_path_factory.mktemp("bundles") / "default"
    export_onnx(load_model(), path, streaming=StreamingOptions())
    return path
