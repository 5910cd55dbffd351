"""Mutations of bytes, whatever they are: bits, pieces, ends, numbers."""

import struct
from collections.abc import Callable
from random import Random

Mutation = Callable[[Random, bytes], bytes]

EXTREMES = (
    *(0, 1, -1, 2, 3, 7, 255, 256, 65_535, 65_536, 10**6, 10**9, 2**24, 2**28),
    *(2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64 - 1),
)
_SIZES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def somewhere(random: Random, data: bytes) -> int:
    """A position in the data; in every second case near its beginning, where headers are."""
    return random.randrange(min(len(data), 128) if random.randrange(2) else len(data))


def flip(random: Random, data: bytes) -> bytes:
    """Up to 8 bits flipped."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 9)):
        changed[somewhere(random, data)] ^= 1 << random.randrange(8)
    return bytes(changed)


def write_number(random: Random, data: bytes) -> bytes:
    """An extreme number over 1 to 8 bytes, in either byte order."""
    size = random.choice(tuple(_SIZES))
    number = random.choice(EXTREMES) % (1 << 8 * size)
    piece = struct.pack(random.choice("<>") + _SIZES[size], number)
    at = somewhere(random, data)
    return data[:at] + piece + data[at + size :]


def cut_end(random: Random, data: bytes) -> bytes:
    """The end is missing."""
    return data[: somewhere(random, data)]


def splice(random: Random, data: bytes) -> bytes:
    """A piece is cut out, doubled, or moved over another."""
    start, at = somewhere(random, data), somewhere(random, data)
    piece = data[start : start + random.choice((1, 4, 16, 64, 1_024))]
    kind = random.randrange(3)
    if kind == 0:
        return data[:start] + data[start + len(piece) :]
    return data[:at] + piece + data[at + (len(piece) if kind == 1 else 0) :]


def append(random: Random, data: bytes) -> bytes:
    """Something follows."""
    return data + random.choice((b"\0", b"\xff" * 9, b"PK\x05\x06" + bytes(18), data))


BYTES: tuple[Mutation, ...] = (flip, write_number, cut_end, splice, append)
