"""Where a compressed stream is damaged: pages of Ogg and frames of MP3 are checked in one pass.

Decoders jump over damage without a word: what follows is then shifted in time, or heard twice.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from frcrn_export.runtime.audio.magic import MAGIC_BYTES, kind_of

_OGG_CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_OPUS_RATE = 48_000  # of its positions, whatever the audio's own rate
_MAX_BAD_PAGES = 1_000  # a file made of false beginnings costs no more
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_MAX_TAGS = 1_000
_MAX_HEADERS_BYTES = 16 << 20
# Bit rates in kbit/s by (MPEG-1, layer); the index 0 is a free format, 15 is no bit rate.
_BIT_RATES = {
    (True, 1): range(0, 449, 32),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass(frozen=True)
class Part:
    """Bytes behind damage that can be decoded with the stream's headers before them.

    Attributes:
        start: The first byte.
        end: Behind the last one.
        seconds_before_end: From the last sample of the part to the end of the recording.
    """

    start: int
    end: int
    seconds_before_end: float


@dataclass(frozen=True)
class Damage:
    """The first damage of a stream.

    Attributes:
        start: The position of the first byte that cannot be trusted; all before it is right.
        lost_seconds: From there to the end of the recording; None where the end is not known.
        has_length: Whether an index at the beginning says how long the whole is.
        at_end: Whether nothing at all comes behind it.
        headers: The bytes at the beginning of the file that each part needs before it.
        parts: What is whole behind the damage, in its order.
    """

    start: int
    lost_seconds: float | None = None
    has_length: bool = False
    at_end: bool = False
    headers: int = 0
    parts: tuple[Part, ...] = ()

    @property
    def from_start(self) -> bool:
        """Whether there are only headers before it."""
        return bool(self.parts) and self.start <= self.headers


def find_damage(path: Path) -> Damage | None:
    """The first damage in an Ogg or MP3 file; None in one that is whole, and in other files.

    Raises OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        kind = kind_of(file.read(MAGIC_BYTES))
        if kind not in ("Ogg", "MP3", "MP2", "MP1"):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _ogg_damage(data) if kind == "Ogg" else _mpeg_damage(data)


def has_index(path: Path) -> bool:
    """Whether an MP3 file begins with an index that says how many frames follow.

    Raises OSError where the file cannot be read.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        at = _next_chain(data, _behind_tags(data, 0), b"")
        return at is not None and _states_length(data, at)


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    flags: int
    position: int  # samples up to its end; -1 where no packet ends in it
    serial: int
    number: int

    @property
    def is_last(self) -> bool:
        return bool(self.flags & 4)


@dataclass
class _Run:
    """Pages of one stream whose numbers follow one another."""

    start: int
    last: _Page
    position: int  # of the last page that has one

    @property
    def is_last_page(self) -> bool:
        """Whether it is the last page alone, which decoders take for a short stream."""
        return self.start == self.last.start and self.last.is_last

    def add(self, page: _Page) -> None:
        self.last, self.position = page, max(self.position, page.position)


def _ogg_damage(data: mmap.mmap) -> Damage | None:
    """Pages with a wrong checksum count as missing, so a gap in the numbers is the one sign."""
    runs, headers, rate, pre_skip = list[_Run](), 0, 0, 0
    for page in _pages(data):
        if not runs:
            body = page.start + 27 + data[page.start + 26]
            packet = data[body : body + 16]
            if not packet.startswith(_OGG_CODECS):
                continue
            rate, pre_skip = _granule_rate(packet), _pre_skip(packet)
        elif page.serial != runs[0].last.serial:
            continue
        if not runs or page.number != (runs[-1].last.number + 1) & 0xFFFFFFFF:
            runs.append(_Run(page.start, page, pre_skip))
        runs[-1].add(page)
        if len(runs) == 1 and page.position == 0:
            headers = page.end
        if page.is_last:
            break
    if not runs or (len(runs) == 1 and runs[0].last.is_last):
        return None
    first, end = runs[0], runs[-1].position
    if len(runs) == 1:
        return Damage(first.last.end, at_end=True)
    if not rate or headers > _MAX_HEADERS_BYTES:
        return Damage(first.last.end)
    parts = tuple(
        Part(run.start, run.last.end, (end - run.position) / rate)
        for run in runs[1:]
        if first.position < run.position <= end and not run.is_last_page
    )
    lost = max(0, end - first.position) / rate
    return Damage(first.last.end, lost, headers=headers, parts=parts)


def _granule_rate(packet: bytes) -> int:
    """In Hz, of a stream with this first packet; 0 for a codec whose header is not known here."""
    if packet.startswith(b"OpusHead"):
        return _OPUS_RATE
    return int(struct.unpack_from("<I", packet, 12)[0]) if packet[1:7] == b"vorbis" else 0


def _pre_skip(packet: bytes) -> int:
    """The samples at the beginning that are no part of the recording."""
    return int.from_bytes(packet[10:12], "little") if packet.startswith(b"OpusHead") else 0


def _pages(data: mmap.mmap) -> Iterator[_Page]:
    """The pages with a right checksum."""
    at = bad = 0
    while (at := data.find(b"OggS", at)) >= 0 and bad < _MAX_BAD_PAGES:
        page = _page(data, at)
        if page is None:
            bad += 1
            at += 4
        else:
            yield page
            at = page.end


def _page(data: mmap.mmap, at: int) -> _Page | None:
    if at + 27 > len(data) or data[at + 4]:
        return None
    flags, position, serial, number, checksum, count = struct.unpack(
        "<BqIIIB", data[at + 5 : at + 27]
    )
    end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
    if end > len(data) or checksum != _ogg_crc(data[at : at + 22] + bytes(4) + data[at + 26 : end]):
        return None
    return _Page(at, end, flags, position, serial, number)


def _ogg_crc(page: bytes) -> int:
    """Of zlib's polynomial, but with the highest bit first, and from zero."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def _mpeg_damage(data: mmap.mmap) -> Damage | None:
    """Each frame says where the next one begins; a chain that breaks and goes on is damaged.

    One that breaks for good ends there: tags and padding follow.
    """
    at = _next_chain(data, _behind_tags(data, 0), b"")
    if at is None:
        return None
    kind = data[at : at + 4]
    last, has_length = at, _states_length(data, at)
    for _ in range(len(data)):
        size = _frame_bytes(data, at)
        if not size or not _same_kind(data[at : at + 4], kind):
            break
        last, at = at, _behind_tags(data, at + size)
    again = _next_chain(data, at, kind)
    if again is None:
        return None
    # The damage may begin in the last frame before the break.
    return Damage(last, has_length=has_length)


def _behind_tags(data: mmap.mmap, at: int) -> int:
    """The position behind the ID3v2 tags that begin here, if any."""
    for _ in range(_MAX_TAGS):
        head = data[at : at + 10]
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            break
        size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        at += 10 + size + 10 * bool(head[5] & 16)
    return at


def _next_chain(data: mmap.mmap, at: int, kind: bytes) -> int | None:
    """Where the next three frames in a row begin, or fewer that fill the file."""
    while (at := data.find(b"\xff", at)) >= 0:
        here = at
        for _ in range(3):
            size = _frame_bytes(data, here)
            if not size or (kind and not _same_kind(data[here : here + 4], kind)):
                break
            here += size
            if here == len(data):
                return at
        else:
            return at
        at += 1
    return None


def _same_kind(header: bytes, other: bytes) -> bool:
    """Whether two frames agree in version, layer and sample rate."""
    return header[1] & 0xFE == other[1] & 0xFE and header[2] & 0x0C == other[2] & 0x0C


def _frame_bytes(data: mmap.mmap, at: int) -> int:
    """The size of the frame that begins here; 0 where none does, or one of a free format."""
    header = data[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return 0
    first = version == 3
    bits = 1000 * _BIT_RATES[first, layer if first else min(layer, 2)][index]
    rate = _RATES[version][rate_index]
    if layer == 1:
        return (12 * bits // rate + padding) * 4
    return (144 if first or layer == 2 else 72) * bits // rate + padding


def _states_length(data: mmap.mmap, at: int) -> bool:
    """Whether this frame is the index that says how many follow."""
    version, mono = data[at + 1] >> 3 & 3, data[at + 3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    tag = data[at + 4 + side : at + 12 + side]
    return tag[:4] in (b"Xing", b"Info") and len(tag) == 8 and bool(tag[7] & 1)
