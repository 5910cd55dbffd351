"""The harness notices what must not happen."""

import sys
from pathlib import Path

import pytest

from tests.fuzz.campaign import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")

BROKEN = """
import os, sys, time
from pathlib import Path
from tests.fuzz import worker
from tests.fuzz.reader import Reader, command

def read(folder, data):
    assert (folder / "seed").read_bytes() == b"right"
    if data == b"traceback":
        (folder / "seed").unlink()
        raise ZeroDivisionError("oops")
    if data == b"unexpected":
        from frcrn_export import cli
        cli.cli.main = lambda *args, **kwargs: 1 / 0
        command("models")
    if data == b"memory":
        bytearray(600 << 20)
    if data == b"signal":
        (folder / "seed").write_bytes(b"damaged")
        os.abort()
    if data == b"hang":
        time.sleep(60)

worker.serve(Reader(lambda folder: [b""], (), read), Path(sys.argv[1]))
"""


def test_what_goes_wrong_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And what a failure left in a folder reaches no other input."""
    monkeypatch.setattr("tests.fuzz.campaign.SECONDS", 2)
    intact = tmp_path / "intact"
    intact.mkdir()
    (intact / "seed").write_bytes(b"right")
    worker = Worker(["-c", BROKEN], intact)
    try:
        for data, wrong in (
            (b"traceback", "ZeroDivisionError: oops"),
            (b"unexpected", "unexpected ZeroDivisionError"),
            (b"memory", "MemoryError"),
            (b"signal", "the process ended with -6"),
            (b"hang", "more than 2 s"),
        ):
            assert worker.read(b"fine") is None
            assert wrong in str(worker.read(data))
    finally:
        worker.close()
    assert list(tmp_path.iterdir()) == [intact]
    assert (intact / "seed").read_bytes() == b"right"
