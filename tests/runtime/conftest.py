from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.gpu import SimulatedGpu
from tests.standin.install import simulated_gpu


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimulatedGpu]:
    """A simulated GPU with both backends of TensorRT. It fails the test for any misuse or leak."""
    with simulated_gpu(monkeypatch, tmp_path / "cache") as gpu:
        yield gpu
