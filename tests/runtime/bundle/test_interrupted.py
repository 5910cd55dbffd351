"""Killed at any point, a full disk, two commands at once: the bundle before or after."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from frcrn_export.runtime.bundle import transaction as module
from frcrn_export.runtime.errors import UserError
from tests.runtime.bundle import interrupted
from tests.runtime.bundle.interrupted import COMMANDS, Failing


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISK", interrupted.Quick())


def child(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.bundle.interrupted", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_any_call(command: str, tmp_path: Path) -> None:
    kills = int(child("killed", str(tmp_path), command).split()[0])
    assert kills > 30


def test_pairs_of_commands_in_parallel(tmp_path: Path) -> None:
    child("parallel", str(tmp_path), *(name for name in COMMANDS if name != "new"))


class Full(Failing):
    """A disk without room for the call number `at`, and for those after it where it stays full."""

    def __init__(self, at: int, stays_full: bool) -> None:
        super().__init__(at, self._refuse)
        self._stays_full = stays_full

    def _refuse(self) -> None:
        if self._stays_full:
            self.at += 1
        raise OSError(errno.ENOSPC, "No space left on device")


def run(command: str, path: Path) -> str | None:
    """Run a command; what it says where it fails."""
    try:
        COMMANDS[command](path)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("stays_full", [True, False])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_at_any_call(
    command: str, stays_full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = interrupted.ends(tmp_path, command)
    said = "x: No space left on device" + ", what was there is unchanged" * (before is not None)
    seen = []
    for at in range(1, 1000):
        path = tmp_path / f"{at}x"
        if command != "new":
            interrupted.start(path)

        disk = Full(at, stays_full)
        with monkeypatch.context() as patched:
            patched.setattr(module, "DISK", disk)
            error = run(command, path)
        if error is not None:
            assert error.endswith(f"{said}; make room or choose another path")
        seen.append(after if error is None else before)
        assert interrupted.state(path) == seen[-1], at
        interrupted.check_next(path, seen[-1])
        if disk.calls < at:
            break
    assert seen[0] == before
    assert seen[-1] == after
    assert len(seen) > 30
