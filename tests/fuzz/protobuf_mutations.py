"""Mutations of protobuf: fields of a message changed, with the lengths around them corrected."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.fuzz.mutations import EXTREMES

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WORDS = (
    *(b"Loop", b"If", b"Scan", b"ConstantOfShape", b"Expand", b"Tile", b"Resize", b"Range", b"Pad"),
    *(b"", b"x" * 100_000, b"\x1b[2J", b"\xff\xfe", b"com.microsoft", b"EPContext", b"NonZero"),
)


@dataclass
class Field:
    """A field: its number, wire type, and its content: a number, bytes, or a message's fields."""

    number: int
    kind: int
    value: "int | bytes | list[Field]"


def change_field(random: Random, data: bytes) -> bytes:
    """One to three fields changed, repeated, exchanged or removed."""
    fields = parse(data)
    for _ in range(random.randrange(1, 4)):
        _change(random, fields)
    return write(fields)


def nest(random: Random, data: bytes) -> bytes:
    """A message within itself, very deep."""
    fields = parse(data)
    holder = _any_message(random, fields)
    number = random.choice([field.number for field in holder] or [1])
    inner = b""
    for _ in range(random.choice((50, 101, 2_000))):
        inner = _varint(number << 3 | _BYTES) + _varint(len(inner)) + inner
    holder.append(Field(number, _BYTES, inner))
    return write(fields)


def parse(data: bytes) -> list[Field]:
    """The fields of a message; raises ValueError or IndexError for other bytes."""
    fields, at = [], 0
    while at < len(data):
        key, at = _read(data, at)
        number, kind = key >> 3, key & 7
        value: int | bytes | list[Field]
        if kind == _VARINT:
            value, at = _read(data, at)
        elif kind == _BYTES:
            size, at = _read(data, at)
            if at + size > len(data):
                raise ValueError("truncated")
            value, at = _inner(data[at : at + size]), at + size
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError("no protobuf")
        if not number:
            raise ValueError("no protobuf")
        fields.append(Field(number, kind, value))
    return fields


def write(fields: list[Field]) -> bytes:
    """The bytes of a message."""
    parts = []
    for field in fields:
        value = write(field.value) if isinstance(field.value, list) else field.value
        parts.append(_varint(field.number << 3 | field.kind))
        if isinstance(value, int):
            parts.append(_varint(value))
        else:
            parts.append((_varint(len(value)) if field.kind == _BYTES else b"") + value)
    return b"".join(parts)


def _inner(data: bytes) -> bytes | list[Field]:
    """The fields where the bytes look like a message, else the bytes."""
    if len(data) < 2 or (data.isascii() and data.decode().isprintable()):
        return data
    try:
        return parse(data)
    except (ValueError, IndexError):
        return data


def _messages(fields: list[Field]) -> Iterator[list[Field]]:
    yield fields
    for field in fields:
        if isinstance(field.value, list):
            yield from _messages(field.value)


def _any_message(random: Random, fields: list[Field]) -> list[Field]:
    return random.choice([found for found in _messages(fields) if found] or [fields])


def _change(random: Random, fields: list[Field]) -> None:
    holder = _any_message(random, fields)
    if not holder:
        return
    at = random.randrange(len(holder))
    field, kind = holder[at], random.randrange(8)
    if kind == 0:
        del holder[at]
    elif kind == 1:
        many = 20 if isinstance(field.value, list) else 1_000
        holder.extend([field] * random.choice((1, many)))
    elif kind == 2:
        other = _any_message(random, fields)
        field.value = random.choice(other).value if other else b""
        field.kind = _VARINT if isinstance(field.value, int) else _BYTES
    elif kind == 3:
        field.number = random.choice((1, 2, 3, 5, 6, 7, 8, 11, 13, 14, 15, 20, 25, 2**29 - 1))
    elif isinstance(field.value, int):
        field.value = random.choice(EXTREMES)
    elif isinstance(field.value, bytes) and field.kind == _BYTES:
        numbers = b"".join(_varint(random.choice(EXTREMES)) for _ in range(4))
        cut = field.value[: len(field.value) // 2]
        field.value = random.choice((*_WORDS, numbers, cut, field.value * 3))


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("no protobuf")


def _varint(value: int) -> bytes:
    value %= 1 << 64
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))


PROTOBUF = (change_field, change_field, change_field, nest)
