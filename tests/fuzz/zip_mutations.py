"""Mutations of zip archives: their members and directories, NumPy headers, pickles."""

import os
import pickle
import pickletools
import re
import struct
import zipfile
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import gettempdir
from typing import Any

from tests.fuzz.mutations import BYTES, EXTREMES, Mutation

# A pickle with code creates this file.
CANARY = Path(gettempdir()) / f"frcrn-export-fuzz-{os.getpid()}-ran-code"


class _Code:
    """Pickled, it runs a program when it is loaded."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as written:
        for name, data in content.items():
            written.writestr(name, data)
    return stream.getvalue()


def change_member(random: Random, data: bytes) -> bytes:
    """A member damaged, with a directory and checksums that match it."""
    content = members(data)
    name = random.choice(list(content))
    if content[name]:
        content[name] = random.choice(BYTES)(random, content[name])
    return archive(content)


def change_names(random: Random, data: bytes) -> bytes:
    """A member removed, renamed, or twice."""
    content = members(data)
    name = random.choice(list(content))
    value = content.pop(name)
    if new := random.choice(("", "../../out", "/out", name.upper(), f"{name}x", "a" * 60_000)):
        content[new] = value
    return archive(content)


def change_directory(random: Random, data: bytes) -> bytes:
    """An extreme number in a header of the archive: sizes, offsets, counts, methods."""
    starts = [found.start() for found in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", data)]
    at = random.choice(starts) + random.randrange(4, 46, 2)
    piece = struct.pack("<Q", random.choice(EXTREMES) % 2**64)[: random.choice((2, 4))]
    return data[:at] + piece + data[at + len(piece) :]


def bomb(random: Random, data: bytes) -> bytes:
    """A member of 400 MB of zeros, which the directory may deny."""
    content = members(data)
    name = random.choice(list(content))
    packed = archive({**content, name: b"?" * 1_000}, zipfile.ZIP_DEFLATED)
    size = random.choice((1_000, 400_000_000))
    with zipfile.ZipFile(BytesIO(packed)) as listed:
        info = listed.getinfo(name)
    old = zlib.compressobj(wbits=-15)
    before = old.compress(b"?" * 1_000) + old.flush()
    new = _zeros()
    packed = packed.replace(before, new, 1)
    sizes = struct.pack("<II", info.compress_size, info.file_size)
    return packed.replace(sizes, struct.pack("<II", len(new), size))


@cache
def _zeros() -> bytes:
    packer = zlib.compressobj(1, wbits=-15)
    block = bytes(10_000_000)
    return b"".join(packer.compress(block) for _ in range(40)) + packer.flush()


def change_header(random: Random, data: bytes) -> bytes:
    """Another shape, dtype or order in the header of a `.npy` member, of any length."""
    content = members(data)
    name = random.choice(list(content))
    shape = ", ".join(str(random.choice(EXTREMES)) for _ in range(random.randrange(5)))
    shape = random.choice((f"({shape},)", f"({shape})", "(1,)" * 2, "'x'", "None", "(" * 500))
    dtype = random.choice(("<f4", ">f4", "<f8", "|O", "|V9", "<U3", "(2,3)<f4", "x", "<f4,<f4"))
    text = f"{{'descr': '{dtype}', 'fortran_order': {random.choice((True, 0, None))}, "
    text += f"'shape': {shape}, }}" + " " * random.choice((0, 10, 70_000)) + "\n"
    version = random.choice((1, 1, 2, 3, 9))
    size = struct.pack("<H" if version == 1 else "<I", len(text) % (1 << 16))
    content[name] = b"\x93NUMPY" + bytes((version, 0)) + size + text.encode() + content[name][128:]
    return archive(content)


def code(random: Random, data: bytes) -> bytes:
    """A pickle with code in the place of one member, or of the file."""
    call = random.choice(
        (
            _Code(CANARY.touch),
            _Code(exec, f"open({str(CANARY)!r}, 'w')"),
            _Code(os.system, f"touch {CANARY}"),
            _Code(getattr, CANARY, "touch"),
            _Code(bytearray, 10**10),
        )
    )
    pickled = pickle.dumps({"state_dict": call}, protocol=random.choice((2, 4)))
    if random.randrange(3) == 0 or not data.startswith(b"PK"):
        return pickled
    content = members(data)
    pickles = [name for name in content if name.endswith(".pkl")] or list(content)
    return archive({**content, random.choice(pickles): pickled})


def change_pickle(random: Random, data: bytes) -> bytes:
    """Extreme numbers in a pickle: shapes, strides, offsets, sizes of storages."""
    content = members(data) if data.startswith(b"PK") else {"": data}
    name = next((name for name in content if name.endswith("data.pkl")), next(iter(content)))
    pickled = content[name]
    places = []
    try:
        for operation, _, at in pickletools.genops(pickled):
            if operation.name in ("BININT", "BININT1", "BININT2", "LONG1") and at is not None:
                places.append((at, operation.name))
    except Exception:  # the file holds several pickles, or other bytes after one
        pass
    for _ in range(random.randrange(1, 4)):
        if places:
            at, kind = places.pop(random.randrange(len(places)))
            old = {"BININT": 5, "BININT1": 2, "BININT2": 3, "LONG1": 2 + pickled[at + 1]}[kind]
            new = b"\x8a\x09" + random.choice(EXTREMES).to_bytes(9, "little", signed=True)
            pickled = pickled[:at] + new + pickled[at + old :]
            places = [(p + (len(new) - old) * (p > at), k) for p, k in places]
    content[name] = pickled
    return archive(content) if data.startswith(b"PK") else pickled


ZIP: tuple[Mutation, ...] = (change_member, change_names, change_directory)
