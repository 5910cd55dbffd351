"""`.npz` files of float32 arrays: read from whoever wrote them, and written."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from frcrn_export.runtime.arrays import Float32Array

# What NumPy writes. Of other methods a header can ask for gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: Path, most_bytes: int) -> dict[str, Float32Array]:
    """The arrays by name. Allocates no more than the archive declares.

    Raises ValueError for more than `most_bytes`, for other compressions than NumPy's, for dtypes
    other than float32 and for headers that do not match their data; else whatever the zip reader
    raises.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > most_bytes:
            raise ValueError(f"{total / 1e6:.0f} MB of arrays, at most {most_bytes / 1e6:.0f}")
        if any(member.compress_type not in _METHODS for member in members):
            raise ValueError("compressed in a way that NumPy does not use")
        arrays = {}
        for member in members:
            with archive.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = _read_array(stream)
        return arrays


def write_arrays(arrays: Mapping[str, Float32Array]) -> bytes:
    """The arrays as an uncompressed file: the same bytes for the same arrays.

    As `np.savez` writes it, without its ZIP64 fields: a reader needs neither those nor inflate.
    """
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays.items():
            member = BytesIO()
            np.lib.format.write_array(member, values, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return file.getvalue()


def _read_array(stream: IO[bytes]) -> Float32Array:
    shape, by_column, dtype = _READERS[np.lib.format.read_magic(stream)](stream)
    data = stream.read()
    if dtype != np.float32 or len(data) != prod(shape) * dtype.itemsize:
        raise ValueError(f"an array {dtype} {list(shape)} in {len(data)} bytes")
    values: Float32Array = np.frombuffer(data, np.float32).copy()
    return values.reshape(shape, order="F" if by_column else "C")
