"""`parity.npz` as docs/bundle.md describes it."""

import struct
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.parity_vectors import parity_npz
from frcrn_export.exporters.streaming_export import StreamingForms, StreamingOptions
from frcrn_export.runtime.bundle.npz import read_arrays

CHUNK = 2  # hops


def stored_arrays(data: bytes) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """A reader of what the document promises alone: no inflate, no ZIP64, no other dtypes."""
    end = data.rindex(b"PK\5\6")
    count, _, at = struct.unpack_from("<HII", data, end + 10)
    arrays = {}
    for _ in range(count):
        method, size, packed, name_bytes = struct.unpack_from("<10xH8xIIH", data, at)
        extra, comment, local = struct.unpack_from("<HH8xI", data, at + 30)
        assert (method, size, extra) == (0, packed, 0)
        name = data[at + 46 : at + 46 + name_bytes].decode()
        at += 46 + name_bytes + extra + comment
        local_name, local_extra = struct.unpack_from("<HH", data, local + 26)
        start = local + 30 + local_name + local_extra
        member = data[start : start + size]
        assert member[:8] == b"\x93NUMPY\1\0"
        (header_bytes,) = struct.unpack_from("<H", member, 8)
        header = member[10 : 10 + header_bytes].decode()
        assert header.startswith("{'descr': '<f4', 'fortran_order': False, 'shape': (")
        sizes = header[header.index("(") + 1 : header.index(")")].split(",")
        shape = tuple(int(size) for size in sizes if size.strip())
        arrays[name.removesuffix(".npy")] = (shape, member[10 + header_bytes :])
    return arrays


@pytest.fixture(scope="module")
def content(small_wave_model: LoadedModel) -> bytes:
    return parity_npz(StreamingForms(small_wave_model, StreamingOptions(chunk=CHUNK)))


def test_a_reader_of_stored_arrays_finds_what_numpy_finds(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "parity.npz"
    path.write_bytes(content)
    expected = read_arrays(path, len(content))
    arrays = stored_arrays(content)
    assert set(arrays) == set(expected)
    for name, (shape, values) in arrays.items():
        np.testing.assert_array_equal(np.frombuffer(values, "<f4").reshape(shape), expected[name])


def test_the_bytes_are_the_same_every_time(content: bytes, small_wave_model: LoadedModel) -> None:
    again = StreamingForms(small_wave_model, StreamingOptions(chunk=CHUNK))
    assert parity_npz(again) == content


def test_every_case_has_an_input_and_an_output(content: bytes) -> None:
    names = set(stored_arrays(content))
    cases = {name.rsplit(".", 1)[0] for name in names}
    assert {f"{case}.{side}" for case in cases for side in ("input", "output")} <= names
    stages = {case.split(".")[0] for case in cases}
    assert stages == {"core", "streaming", "stream", "pipeline", "levelled", "high_pass"}
    further = {name for name in names if name.rsplit(".", 1)[1] not in ("input", "output")}
    assert {name.split(".")[0] for name in further} == {"stream"}
