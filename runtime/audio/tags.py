"""Tags of audio files: libsndfile's strings (title, artist, ...), and broadcast WAV's fields."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import soundfile

# libsndfile's SFC_GET_BROADCAST_INFO and SFC_SET_BROADCAST_INFO, and the most that it takes.
_GET_BROADCAST, _SET_BROADCAST = 0x10F0, 0x10F1
_BROADCAST_BYTES = 16_000
_VERSION = slice(348, 350)  # of the chunk: libsndfile writes 2, whatever it was
_CODING_HISTORY = 604  # behind it stands what each program that wrote the file adds


@dataclass(frozen=True)
class Tags:
    """What a file says about its audio.

    Attributes:
        strings: By libsndfile's names, without `software`, which each writer sets anew.
        broadcast: The chunk `bext` of a broadcast WAV, as libsndfile lays it out; None without one.
    """

    strings: Mapping[str, str]
    broadcast: bytes | None

    def missing_in(self, other: "Tags") -> list[str]:
        """The names of the tags that `other` has not, or not as they were."""
        names = [name for name, text in self.strings.items() if other.strings.get(name) != text]
        before, after = _fields(self.broadcast), _fields(other.broadcast)
        if before not in (None, after):
            names.append("bext")
        return names


def _fields(broadcast: bytes | None) -> bytes | None:
    """What a chunk `bext` says, without what each writer sets anew."""
    if broadcast is None:
        return None
    return broadcast[: _VERSION.start] + broadcast[_VERSION.stop : _CODING_HISTORY]


def read_tags(file: "soundfile.SoundFile") -> Tags:
    """The tags of a file that is open."""
    strings = {name: text for name, text in file.copy_metadata().items() if name != "software"}
    return Tags(strings, _broadcast(file))


def write_tags(file: "soundfile.SoundFile", tags: Tags) -> None:
    """Set the tags of a new file before its samples; those that its container lacks are left."""
    import soundfile

    for name, text in tags.strings.items():
        if file.format == "MP3" and not text.isascii():
            continue  # the encoder would take the bytes of UTF-8 for letters
        with suppress(soundfile.LibsndfileError):
            setattr(file, name, text)
    if tags.broadcast is not None:
        with suppress(AttributeError):
            data = soundfile._ffi.from_buffer(bytearray(tags.broadcast))
            soundfile._snd.sf_command(file._file, _SET_BROADCAST, data, len(data))


def _broadcast(file: "soundfile.SoundFile") -> bytes | None:
    """soundfile has no call for it; where its internals change, the chunk counts as missing."""
    import soundfile

    try:
        data = soundfile._ffi.new("char[]", _BROADCAST_BYTES)
        found = soundfile._snd.sf_command(file._file, _GET_BROADCAST, data, _BROADCAST_BYTES)
        return bytes(soundfile._ffi.buffer(data)) if found else None
    except AttributeError:
        return None
