"""Processors by affinity and by the quota of a container, version 1 and 2 of control groups."""

import os
from pathlib import Path

import pytest

from frcrn_export.runtime.processors import usable_processors


def usable(folder: Path, groups: str, files: dict[str, str]) -> int:
    own = folder / "own"
    own.write_text(groups)
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return usable_processors(folder / "cgroup", own)


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/outside/it\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/../../x\n", {"cpu.max": "200000 100000\n"}, 2),
        (
            "5:cpuacct,cpu:/docker/1\n3:memory:/docker/1\n",
            {
                "cpuacct,cpu/docker/1/cpu.cfs_quota_us": "400000\n",
                "cpuacct,cpu/docker/1/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        ("5:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 8),
        ("0::/\n", {"cpu.max": "nonsense\n"}, 8),
        ("nonsense", {"cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_the_quota_of_a_container_counts(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    assert usable(tmp_path, groups, files) == expected


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    assert usable(tmp_path, "0::/\n", {"cpu.max": "400000 100000\n"}) == 1


def test_without_either_the_processors_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_processors(tmp_path / "none", tmp_path / "none") == 6


def test_here() -> None:
    assert usable_processors() >= 1
