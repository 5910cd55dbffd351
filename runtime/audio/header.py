"""How many bytes of samples a file has: what its header says, and what there is.

Programs that write into a pipe, or that were killed, leave sizes that are zero, made up, or cut to
32 bits. One rule serves files and pipes: a size that nobody could know means "to the end", a size
that is larger than the rest of the file means a truncated recording, and the real size decides.
"""

import io
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_MAX_CHUNKS = 10_000
_MAX_HEAD_BYTES = 16 << 20  # of chunks before the samples that are kept
_MAX_BYTES = 1 << 62
_LAST = 0xFFFFFFFF
_LONG = (b"RF64", b"BW64")
_RIFFS = (b"RIFF", b"RIFX", *_LONG)
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


def known_size(said: int) -> int | None:
    """The 32-bit size in a header, or None where it is one that writers leave who do not know it.

    ffmpeg leaves 2^32 - 1, others 0, 2^31 (arecord) or 2^31 - 1 (sox), the last two less a header.
    """
    if said == 0 or 0x7FFF0000 <= said <= 0x80000000 or said >= 0xFFFF0000:
        return None
    return said


@dataclass(frozen=True)
class _Layout:
    """How a container puts its chunks in a row."""

    first: int  # the position of the first chunk
    identity: int  # bytes of a chunk's name
    size: str  # of the number behind it, for struct
    align: int
    inclusive: bool = False  # whether the size counts the chunk's own header


_LAYOUTS = {
    b"RIFF": _Layout(12, 4, "<I", 2),
    **dict.fromkeys(_LONG, _Layout(12, 4, "<I", 2)),
    b"RIFX": _Layout(12, 4, ">I", 2),
    b"FORM": _Layout(12, 4, ">I", 2),
    b"riff": _Layout(40, 16, "<Q", 8, inclusive=True),
    b"caff": _Layout(8, 4, ">q", 1),
}
_SPHERE_BYTES = 4096
_SPHERE_COUNTS = (b"sample_count", b"channel_count", b"sample_n_bytes")
_SAMPLES = {b"data", b"SSND", b"BODY", _W64_DATA}


@dataclass(frozen=True)
class Chunk:
    """A chunk: its name, where its content begins, and the size that its header says."""

    name: bytes
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    """What the chunks of a file say about its samples, in bytes.

    Attributes:
        chunks: All that could be found, in their order.
        offset: Where the samples begin.
        stated: The number that stands in the header.
        said: What that means; None where the writer did not know the size.
        present: What there is.
    """

    path: Path
    magic: bytes
    chunks: tuple[Chunk, ...]
    offset: int
    stated: int
    said: int | None
    present: int

    @property
    def next_recording(self) -> int | None:
        """Where another WAV begins behind this one; None where none does."""
        return next((c.start - 8 for c in self.chunks if c.name in _RIFFS), None)

    @property
    def share(self) -> float:
        """The share of the samples that there is; 1 for a file that is whole."""
        return 1.0 if not self.said else self.present / self.said

    def corrected(self) -> "Corrected | None":
        """The file with a header that states what there is; None where libsndfile sees it."""
        if self.offset > _MAX_HEAD_BYTES or not self.present:
            return None
        rest = self.path.stat().st_size - self.offset
        end = self.next_recording
        unseen = min(self.stated, rest) != self.present or self.magic == b"BW64"
        if self.magic in _RIFFS and (unseen or end is not None):
            return Corrected(self.path, self._riff_head(), self.offset, end)
        if self.magic == b".snd" and self.stated == 0:
            return Corrected(self.path, self._head(8, b"\xff\xff\xff\xff"), self.offset)
        if self.magic == b"caff" and self.stated != self.present:
            size = struct.pack(">q", self.present)
            return Corrected(self.path, self._head(self.offset - 8, size), self.offset)
        return None

    def _head(self, at: int = 0, change: bytes = b"") -> bytes:
        with self.path.open("rb") as file:
            head = file.read(self.offset)
        return head[:at] + change + head[at + len(change) :]

    def _riff_head(self) -> bytes:
        """RIFF where the size fits, else RF64; the other chunks before the samples are kept."""
        old = self._head()
        kept = b"".join(
            old[chunk.start - 8 : chunk.start + chunk.size + chunk.size % 2]
            for chunk in self.chunks
            if chunk.name != b"ds64" and chunk.start < self.offset
        )
        whole = len(kept) + self.present + 56  # with "WAVE", "ds64" and the head of "data"
        if whole <= _LAST and self.magic not in _LONG:
            order = _LAYOUTS[self.magic].size
            begin = self.magic + struct.pack(order, whole - 36) + b"WAVE"
            return begin + kept + b"data" + struct.pack(order, self.present)
        sizes = struct.pack("<IQQQI", 28, whole, self.present, 0, 0)
        unknown = struct.pack("<I", _LAST)
        return b"RF64" + unknown + b"WAVEds64" + sizes + kept + b"data" + unknown


class Corrected(io.RawIOBase):
    """A file to be read, with other bytes for its first `offset`, up to `end` (None: its end)."""

    def __init__(
        self, path: Path, head: bytes = b"", offset: int = 0, end: int | None = None
    ) -> None:
        self._file = path.open("rb", buffering=0)
        self._head, self._shift, self._at = head, offset - len(head), 0
        size = os.fstat(self._file.fileno()).st_size
        self._end = (size if end is None else min(size, end)) - self._shift

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._end - self._at)]
        if self._at < len(self._head):
            part = self._head[self._at : self._at + len(view)]
            view[: len(part)] = part
            count = len(part)
        else:
            self._file.seek(self._at + self._shift)
            count = self._file.readinto(view)
        self._at += count
        # libsndfile takes a short read for the end.
        return count + self.readinto(view[count:]) if 0 < count < len(view) else count

    def close(self) -> None:
        self._file.close()
        super().close()


def read_header(path: Path) -> Header | None:
    """The header of WAV, RF64, W64, AIFF, IFF, CAF, AU or SPHERE; None without one or samples."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        begin = file.read(12)
        magic = begin[:4]
        if magic == b"NIST":
            return _sphere(path, begin + file.read(_SPHERE_BYTES), end)
        if magic == b".snd" and len(begin) == 12:
            return _header(path, magic, [Chunk(b"data", *struct.unpack(">II", begin[4:]))], end)
        if magic not in _LAYOUTS:
            return None
        return _header(path, magic, list(_chunks(file, magic, end)), end)


def _sphere(path: Path, begin: bytes, end: int) -> Header | None:
    """The header of NIST SPHERE, which is text: the size of the header, and numbers by name."""
    fields = {name: int(value) for name, value in re.findall(rb"(\w+) -i (\d{1,12})\s", begin)}
    size = re.match(rb"NIST_1A\s+(\d{1,6})\s", begin)
    counts = [fields.get(name) for name in _SPHERE_COUNTS]
    if size is None or None in counts or int(size[1]) > end:
        return None
    said = math.prod(count for count in counts if count is not None)
    offset = int(size[1])
    return Header(path, b"NIST", (), offset, said, said, min(said, end - offset))


def _chunks(file: BinaryIO, magic: bytes, end: int) -> Iterator[Chunk]:
    layout, long_size = _LAYOUTS[magic], None
    at, head = layout.first, layout.identity + struct.calcsize(layout.size)
    for _ in range(_MAX_CHUNKS):
        if at + head > end:
            return
        file.seek(at)
        name = file.read(layout.identity)
        (size,) = struct.unpack(layout.size, file.read(head - layout.identity))
        if not name[:4].isascii() or not name[:4].decode("ascii").isprintable():
            return
        if magic in _LONG and name == b"ds64":
            long_size = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        elif magic in _LONG and name == b"data" and size == _LAST and long_size is not None:
            size = long_size
        chunk = Chunk(name, at + head, size - head if layout.inclusive else size)
        yield chunk
        if chunk.size < 0 or name in _RIFFS:  # of CAF: up to the end; or another recording
            return
        at = chunk.start + chunk.size
        at += -at % layout.align


def _header(path: Path, magic: bytes, chunks: list[Chunk], end: int) -> Header | None:
    data = next((chunk for chunk in chunks if chunk.name in _SAMPLES), None)
    if data is None or data.start > end:
        return None
    stated, rest = data.size, end - data.start
    last = chunks[-1]
    if (
        last.name in _RIFFS or 0 <= end - last.start - last.size <= 1
    ):  # the chunks fill the file, so the size is right
        said: int | None = stated
    elif magic in (b"caff", b"riff"):
        said = stated if 0 < stated < _MAX_BYTES else None
    else:
        said = known_size(stated) if stated <= _LAST else stated
    if said is not None and magic in _RIFFS and rest - said > _LAST:
        said += (rest - said) // (_LAST + 1) * (_LAST + 1)  # a size cut to 32 bits
    present = rest if said is None else min(said, rest)
    return Header(path, magic, tuple(chunks), data.start, stated, said, present)
