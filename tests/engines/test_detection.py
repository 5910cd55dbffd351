from collections.abc import Callable

import pytest

from frcrn_export.engines import detection
from frcrn_export.engines.detection import (
    detect_gpu,
    present_gpu,
)
from frcrn_export.engines.gpus import GPUS, find_gpu
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.gpu import Gpu

Machine = Callable[[str, int, float], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with a GPU by name, SM and GiB."""

    def has(title: str, sm: int, gib: float) -> None:
        found = Gpu(title, sm, (13, 1), int(gib * 2**30))
        monkeypatch.setattr(detection, "first_gpu", lambda: found)

    return has


def test_detects_a_registered_gpu(machine: Machine) -> None:
    machine("NVIDIA GeForce RTX 4090 D", 89, 23.6)
    assert detect_gpu() is GPUS["rtx4090d"]


def test_describes_an_unknown_gpu_by_its_sm_and_memory(machine: Machine) -> None:
    machine("NVIDIA RTX 9090 Prototype", 120, 47.5)
    gpu = detect_gpu()
    assert (gpu.name, gpu.title, gpu.sm, gpu.memory_gb) == (
        "sm120", "NVIDIA RTX 9090 Prototype", 120, 48,
    )  # fmt: skip
    assert find_gpu(gpu.name).sm == 120  # as a rebuild command names it


def test_a_known_name_with_another_sm_is_not_that_gpu(machine: Machine) -> None:
    machine("NVIDIA T4", 90, 16)
    assert detect_gpu().name == "sm90"


def test_without_a_gpu_says_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Gpu:
        raise BackendError("no NVIDIA driver")

    monkeypatch.setattr(detection, "first_gpu", none)
    assert present_gpu() is None
    with pytest.raises(UserError, match=r"no GPU to detect: no NVIDIA driver.*--gpu rtx4090d"):
        detect_gpu()
