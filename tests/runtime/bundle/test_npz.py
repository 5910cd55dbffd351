import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.npz import read_arrays, write_arrays


def write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_arrays_come_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, one=values, two=np.asfortranarray(values), none=values[:0])
    arrays = read_arrays(path, 1_000)
    for name, expected in (("one", values), ("two", values), ("none", values[:0])):
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].flags.writeable


def test_what_is_written_is_stored_and_the_same_each_time(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    arrays = {"core.a.input": values, "none": values[:0]}
    (tmp_path / "a.npz").write_bytes(write_arrays(arrays))
    assert write_arrays(arrays) == (tmp_path / "a.npz").read_bytes()
    for found in (read_arrays(tmp_path / "a.npz", 1_000), np.load(tmp_path / "a.npz")):
        assert list(found) == list(arrays)
        for name, expected in arrays.items():
            np.testing.assert_array_equal(found[name], expected)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    "data",
    [
        header("(1000000000,)"),  # 4 GB that are not there
        header("(2,)") + bytes(4),
        header("(1,)", "<f8") + bytes(8),
        header("(1,)", "|O") + bytes(8),
        header("(-1, -1)") + bytes(4),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
)
def test_headers_that_do_not_fit(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "a.npz", {"x": data})
    with pytest.raises((ValueError, KeyError)):
        read_arrays(path, 1_000)


def test_an_archive_that_unpacks_into_more_than_is_taken(tmp_path: Path) -> None:
    stream = BytesIO()
    np.save(stream, np.zeros(1_000_000, np.float32))
    path = write(tmp_path / "a.npz", {"x": stream.getvalue()})
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="4 MB of arrays, at most 1"):
        read_arrays(path, 1_000_000)


def test_other_compressions_than_those_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", header("(1,)") + bytes(4))
    with pytest.raises(ValueError, match="a way that NumPy does not use"):
        read_arrays(path, 1_000)
