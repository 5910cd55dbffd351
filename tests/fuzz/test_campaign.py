"""The harness notices what must not happen."""

import sys

import pytest

from tests.fuzz.campaign import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")

BROKEN = """
import os, time
from pathlib import Path
from tests.fuzz import worker
from tests.fuzz.reader import Reader, command

def read(folder, data):
    if data == b"traceback":
        raise ZeroDivisionError("oops")
    if data == b"unexpected":
        from frcrn_export import cli
        cli.cli.main = lambda *args, **kwargs: 1 / 0
        command("models")
    if data == b"memory":
        bytearray(600 << 20)
    if data == b"signal":
        os.abort()
    if data == b"hang":
        time.sleep(60)

worker.serve(Reader(lambda folder: [b""], (), read), Path())
"""


def test_what_goes_wrong_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.campaign.SECONDS", 2)
    worker = Worker(["-c", BROKEN])
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
