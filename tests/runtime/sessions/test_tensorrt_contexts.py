from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.sessions.session import Session
from tests.bundles import write_bundle
from tests.standin import tensorrt
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_bundle(tmp_path / "bundle", gain=2.0)
    add_engine(root, "tensorrt-rtx", low=(1, 1, 1), best=(1, 1, 100), high=(4, 1, 1000))
    return root


def opened(root: Path) -> Session:
    return open_session(open_bundle(root), "tensorrt-rtx")


def run(session: Session, samples: int) -> None:
    inputs = np.ones((1, 1, samples), np.float32)
    np.testing.assert_array_equal(session.run(inputs), 2 * inputs)


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*"))


def test_rtx_captures_graphs_itself_and_compiles_before_the_first_run(
    gpu: SimulatedGpu, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    create = tensorrt.ICudaEngine.create_runtime_config
    monkeypatch.setattr(
        tensorrt.ICudaEngine,
        "create_runtime_config",
        lambda engine: made.append(create(engine)) or made[-1],
    )
    opened(root)
    (config,) = made
    assert config.cuda_graph_strategy.name == "WHOLE_GRAPH_CAPTURE"
    assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"


def test_compiled_kernels_are_kept(gpu: SimulatedGpu, root: Path, tmp_path: Path) -> None:
    session = opened(root)
    run(session, 7)
    assert gpu.compiled == [(1, 1, 100), (1, 1, 7)]
    sha256 = open_bundle(root).manifest.files[1].sha256
    folder, file = cache_files(tmp_path)
    assert (folder.name, file.name) == ("tensorrt-rtx", f"{sha256[:32]}.sm89.cache")
    again = opened(root)
    run(again, 7)
    assert len(gpu.compiled) == 2
    run(again, 8)
    assert gpu.compiled[2:] == [(1, 1, 8)]


def test_a_cache_of_another_gpu_is_of_no_use_and_no_harm(
    gpu: SimulatedGpu, root: Path, tmp_path: Path
) -> None:
    opened(root)
    (file,) = (path for path in cache_files(tmp_path) if path.is_file())
    for content in (b"[86, []]", b"garbage", b""):
        file.write_bytes(content)
        compiled = len(gpu.compiled)
        run(opened(root), 100)
        assert len(gpu.compiled) == compiled + 1
        assert file.read_bytes() not in (content, b"")


def test_a_cache_that_cannot_be_read_or_written_fails_nothing(
    gpu: SimulatedGpu, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    run(opened(root), 100)
    (tmp_path / "cache").unlink()
    sha256 = open_bundle(root).manifest.files[1].sha256
    (tmp_path / "cache/tensorrt-rtx" / f"{sha256[:32]}.sm89.cache").mkdir(parents=True)
    run(opened(root), 100)
    # Nothing half-written stays.
    assert [path.name for path in cache_files(tmp_path)] == [
        "tensorrt-rtx",
        f"{sha256[:32]}.sm89.cache",
    ]
