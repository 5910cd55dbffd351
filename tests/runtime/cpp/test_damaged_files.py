"""The mutated files of tests/fuzz through the readers of libfrcrn."""

import subprocess
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.readers import READERS


@pytest.mark.parametrize("reader", ["manifest", "npz", "onnx"])
def test_a_file_gives_a_result_or_an_error(reader: str, cpp_build: Path, tmp_path: Path) -> None:
    seeds = READERS[reader].seeds(tmp_path)
    check_readers(cpp_build / "tests/frcrn_fuzz", reader, seeds)


def check_readers(program: Path, reader: str, seeds: list[bytes], mutations: int = 300) -> None:
    """Feed a program with files; it must come to the end of all."""
    files = seeds + [
        READERS[reader].mutated(Random(f"{reader} {number}"), seeds) for number in range(mutations)
    ]
    given = b"".join(len(data).to_bytes(8, "little") + data for data in files)
    done = subprocess.run([program, reader], input=given, capture_output=True, timeout=300)
    read = done.stdout.count(b"ok\n")
    assert read == len(files), f"file {read} {files[read][:2_000]!r}: {done.stderr.decode()}"
    assert done.returncode == 0
