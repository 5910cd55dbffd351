from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bench.machine import (
    Machine,
    cache_bytes,
    peak_bytes,
    stolen_seconds,
    this_machine,
)
from tests.runtime.bench.results import MACHINE


def other(**changes: object) -> Machine:
    return msgspec.structs.replace(MACHINE, **changes)


def test_this_machine_is_itself() -> None:
    here = this_machine()
    assert here.usable <= here.cores
    assert here.times_as(here)
    assert here.versions["frcrn-export"]


@pytest.mark.parametrize("name", ["processor", "cores", "usable", "instructions", "gpu", "system"])
def test_times_depend_on_the_machine(name: str) -> None:
    value = {"cores": 4, "usable": 1, "instructions": ("sse",)}.get(name, "another")
    assert not other(**{name: value}).times_as(MACHINE)


def test_kernels_depend_on_the_version_and_the_instructions_alone() -> None:
    assert other(processor="Q", cores=64).runs_the_kernels_of(MACHINE)
    assert not other(versions={"onnxruntime": "1.31.0"}).runs_the_kernels_of(MACHINE)
    assert not other(instructions=("avx512f",)).runs_the_kernels_of(MACHINE)
    assert other(versions={"onnxruntime-gpu": "1.32.0"}).runs_the_kernels_of(MACHINE)


def test_what_is_not_known_is_not_taken_for_equal() -> None:
    nothing = other(instructions=())
    assert not nothing.runs_the_kernels_of(nothing)


def test_stolen_time(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 800 0 0\ncpu0 1 2 3 4 5 6 7 1 0 0\n")
    assert stolen_seconds(stat) == pytest.approx(8.0)
    stat.write_text("cpu 1 2\n")
    assert stolen_seconds(stat) is None
    assert stolen_seconds(tmp_path / "missing") is None


def test_the_most_memory_that_was_held(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("VmPeak:\t  900 kB\nVmHWM:\t   300 kB\nVmRSS:\t  200 kB\n")
    assert peak_bytes(status) == 300 * 1024
    status.write_text("VmHWM:\n")
    assert peak_bytes(status) is None
    assert peak_bytes(tmp_path / "missing") is None


def test_the_second_level_cache(tmp_path: Path) -> None:
    for index, (level, size) in enumerate((("1", "32K"), ("2", "1024K"), ("3", "32768K"))):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    assert cache_bytes(tmp_path) == 1 << 20
    (tmp_path / "index1" / "size").write_text("large\n")
    assert cache_bytes(tmp_path) is None
    assert cache_bytes(tmp_path / "missing") is None
