import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frcrn_export.runtime.files.partials import sweep_partials


def partial(output: Path, process: int) -> Path:
    path = output.with_name(f".{output.name}.{process}.partial")
    path.write_bytes(b"half of it")
    return path


def test_what_a_dead_process_left_goes(tmp_path: Path) -> None:
    output = tmp_path / "a.wav"
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    left, ours, other = (
        partial(output, process.pid),
        partial(output, os.getpid()),
        partial(tmp_path / "b.wav", process.pid),
    )
    sweep_partials([output])
    assert [left.exists(), ours.exists(), other.exists()] == [False, True, True]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_a_killed_process_that_nobody_waited_for_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    state = Path(f"/proc/{process.pid}/stat")
    while state.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    left = partial(tmp_path / "a.wav", process.pid)
    sweep_partials([tmp_path / "a.wav"])
    assert not left.exists()
    process.wait()
