"""Audio files read block by block: WAV, FLAC, Ogg, MP3 and more of libsndfile.

What is there is taken: a recording that ends early is read to its end, a damaged stream up to the
damage and, where it can be decoded again, behind it, with silence in between, so that time is kept.
What is missing stands in `FileSource.losses`.
"""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.damage import Damage, Part, find_damage, has_index
from frcrn_export.runtime.audio.formats import AudioFormat
from frcrn_export.runtime.audio.header import Corrected, Header, read_header
from frcrn_export.runtime.audio.magic import has_audio, kind_of
from frcrn_export.runtime.audio.source import BLOCK_FRAMES, check_format, finite_blocks
from frcrn_export.runtime.errors import AudioError, reading, reason
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    import soundfile

logger = logging.getLogger(__name__)

# Containers whose codecs find out only when they decode how much there is.
_COMPRESSED = {"FLAC", "MP3", "OGG"}
# An MP3 without an index states its length only roughly; some indexes count themselves.
_MP3_TOLERANCE_FRAMES = {False: 4 * 1152, True: 1152}
_READ_CHUNKS = {
    # Of WAV, W64, AIFF and CAF: the format, the samples, tags, and padding.
    *(b"fmt ", b"data", b"fact", b"LIST", b"bext", b"PEAK", b"ds64", b"JUNK", b"junk", b"FLLR"),
    *(b"PAD ", b"COMM", b"SSND", b"FVER", b"NAME", b"AUTH", b"ANNO", b"(c) ", b"desc", b"pakt"),
    *(b"RIFF", b"RIFX", b"RF64", b"BW64"),  # another recording: said as such
    *(b"kuki", b"free", b"info", b"strg", b"peak", b"VHDR", b"BODY", b"CHAN", b"levl", b"APPL"),
}
# Containers that libsndfile reads itself, but not with every codec.
_READABLE = {"WAV", "big-endian WAV", "W64", "AIFF", "AU", "CAF", "FLAC", "Ogg", "MP3"}
_OTHER_CODEC = ("unimplemented format", "Malformed 'fmt ' chunk")
_UNKNOWN_FRAMES = 1 << 40  # FLAC from a pipe says 2^63 - 1
_MIN_BYTES_PER_SECOND = 16  # of a stream whose stated length is believed
_PIECE_FRAMES = 1024  # of silence, where nothing can be decoded


class FileSource:
    """An audio file as a source.

    Raises AudioError where the file is missing, of zero length, not audio, or without samples.

    Attributes:
        losses: What of the file is not in its blocks, in words; complete once they were read.
    """

    def __init__(self, path: Path, name: str | None = None, *, warn: bool = True) -> None:
        """Open a file.

        Args:
            path: The file.
            name: The name that errors show; None is the path.
            warn: Log the losses; a caller that reports `losses` itself says False.
        """
        self.path = path
        self.name = str(path) if name is None else name
        self.losses: list[str] = []
        self._warn = warn
        if not path.is_file():
            raise AudioError(f"{self.name}: no such file; give an audio file or a folder of them")
        with reading(self.name, "cannot be read", "check its permissions", AudioError):
            if path.stat().st_size == 0:
                raise AudioError(f"{self.name}: a file of zero length; record or copy it again")
            self._header: Header | None = read_header(path)
            self._damage: Damage | None = find_damage(path)
        with self.open() as file:
            self.sample_rate: int = file.samplerate
            self.channels: int = file.channels
            self.frames: int = file.frames
            self.audio_format = AudioFormat(file.format, file.subtype)
            whole = self._is_whole(file)
        promised = self.frames
        if not whole:
            self.frames = self._decodable()
        if self._header is not None:
            promised = round(self.frames / self._header.share) if self._header.share else 0
        check_format(self.name, self.channels, self.frames, self.sample_rate)
        only_behind = self._damage is not None and self._damage.from_start
        self._pieces = [_Piece(0, 0 if only_behind else self.frames, self.open)]
        rate = self.sample_rate
        tolerated = _MP3_TOLERANCE_FRAMES[has_index(path)] if self.format == "MP3" else 0
        if self._damage and not self._damage.at_end:
            self.frames = self._length(promised)
            self._pieces += self._pieces_behind()
            self._lose_damaged()
        elif self._damage:
            self._lose(
                f"ends early, at {self.frames / rate:.2f} s: its last page is missing or damaged"
            )
        elif tolerated < promised - self.frames < _UNKNOWN_FRAMES:
            self._lose(f"ends early, at {self.frames / rate:.2f} s of {promised / rate:.2f} s")
        if self._header and (behind := self._header.next_recording) is not None:
            count = path.stat().st_size - behind
            self._lose(f"{count} bytes behind it are another recording: left out")

    @property
    def other_chunks(self) -> list[str]:
        """The names of chunks that nothing here reads, such as iXML or cue points; 20 at most."""
        names = [chunk.name for chunk in self._header.chunks] if self._header else []
        return list(
            dict.fromkeys(
                name[:4].decode("ascii").strip() for name in names if name[:4] not in _READ_CHUNKS
            )
        )[:20]

    @property
    def format(self) -> str:
        """libsndfile's name of the container."""
        return self.audio_format.container

    @property
    def subtype(self) -> str:
        """libsndfile's name of the encoding."""
        return self.audio_format.subtype

    def blocks(self) -> Iterator[Float32Array]:
        """Blocks [C, n] float32; silence where a damaged stream cannot be decoded."""
        return finite_blocks(self.name, self._blocks())

    def open(self) -> "soundfile.SoundFile":
        """The file, with a header that states its real size. Raises AudioError for other files."""
        import soundfile

        corrected = self._header.corrected() if self._header else None
        if self._damage and self._damage.from_start:
            corrected = self._behind(self._damage.parts[0])
        elif self._damage:
            corrected = Corrected(self.path, end=self._damage.start)
        try:
            # Names need not be UTF-8.
            return soundfile.SoundFile(corrected or os.fsencode(self.path))
        except Exception as error:  # the bytes decide what libsndfile raises
            text = getattr(error, "error_string", "") or str(error)
            if text.startswith("File does not exist"):  # said of what has no frame of MP3
                text = "Format not recognised"
            why = reason(ValueError(text.rstrip(".")))
            with self.path.open("rb") as file:
                begin = file.read(512)
            kind = kind_of(begin)
            raise AudioError(
                f"{self.name}: cannot be read as audio ({f'{kind}: ' * bool(kind)}{why}); "
                f"{_remedy(self.name, kind, why, begin)}"
            ) from error

    def _is_whole(self, file: "soundfile.SoundFile") -> bool:
        """Whether the last sample can be decoded."""
        if self.format not in _COMPRESSED:
            return True
        if self.frames >= _UNKNOWN_FRAMES or self.format == "MP3":
            return False  # a decoder of MP3 that jumps complains on standard error
        try:
            file.seek(max(0, self.frames - 1))
            return len(file.read(1)) == 1
        except Exception:  # whatever it is, the end cannot be decoded
            return False

    def _decodable(self) -> int:
        """The number of frames that can be decoded from the beginning."""
        at = 0
        with _Decoder(self.open, self.channels) as decoder:
            while len(block := decoder.read(at, BLOCK_FRAMES)):
                at += len(block)
        return at

    def _blocks(self) -> Iterator[Float32Array]:
        at, lost = 0, list[int]()
        for piece in self._pieces:
            yield from self._silence(piece.start - at)
            skipped = max(0, at - piece.start)
            yield from self._decoded(piece, skipped, lost)
            at = max(at, piece.end)
        yield from self._silence(self.frames - at)
        if lost:
            seconds, first = len(lost) * _PIECE_FRAMES / self.sample_rate, lost[0]
            self._lose(
                f"{seconds:.2f} s cannot be decoded, from {first / self.sample_rate:.2f} s on: "
                "silence there"
            )

    def _decoded(self, piece: "_Piece", at: int, lost: list[int]) -> Iterator[Float32Array]:
        """The piece from its frame `at` on; `lost` gets where in the file silence was put."""
        with _Decoder(piece.open, self.channels) as decoder:
            while at < piece.frames:
                wanted = min(BLOCK_FRAMES, piece.frames - at)
                block = decoder.read(at, wanted)  # [n, C]
                if not len(block):
                    block = np.zeros((min(wanted, _PIECE_FRAMES), self.channels), np.float32)
                    lost.append(piece.start + at)
                at += len(block)
                yield np.ascontiguousarray(block.T)

    def _silence(self, frames: int) -> Iterator[Float32Array]:
        for start in range(0, frames, BLOCK_FRAMES):
            yield np.zeros((self.channels, min(BLOCK_FRAMES, frames - start)), np.float32)

    def _length(self, promised: int) -> int:
        """The frames of a damaged stream, with those behind the damage where that is known."""
        damage, right = self._damage, self._pieces[0].frames
        lost = max(0, promised - right) if damage and damage.has_length else 0
        if damage and damage.lost_seconds is not None:
            lost = round(damage.lost_seconds * self.sample_rate)
        believed = self.path.stat().st_size / _MIN_BYTES_PER_SECOND * self.sample_rate
        return right + (lost if lost <= believed else 0)

    def _pieces_behind(self) -> "Iterator[_Piece]":
        """What can be decoded behind the damage; each piece is placed by where it ends."""
        damage, at = self._damage, self._pieces[0].frames
        for part in damage.parts if damage else ():
            open_part = partial(self._open_part, part)
            try:
                with open_part() as file:
                    frames = file.frames
            except Exception:  # nothing there can be decoded: silence
                continue
            end = self.frames - round(part.seconds_before_end * self.sample_rate)
            if at < end <= self.frames and 0 < frames <= end:
                yield _Piece(end - frames, frames, open_part)
                at = end

    def _behind(self, part: Part) -> Corrected:
        """A part behind damage, with the headers before it."""
        with self.path.open("rb") as begin:
            headers = begin.read(self._damage.headers if self._damage else 0)
        return Corrected(self.path, headers, part.start, part.end)

    def _open_part(self, part: Part) -> "soundfile.SoundFile":
        import soundfile

        file = soundfile.SoundFile(self._behind(part))
        file.seek(0)  # else Opus leaves its pre-skip at the end instead of the beginning
        return file

    def _lose_damaged(self) -> None:
        ends = [piece.end for piece in self._pieces]
        starts = [*(piece.start for piece in self._pieces[1:]), self.frames]
        rate = self.sample_rate
        gaps = [(end, start) for end, start in zip(ends, starts, strict=True) if end < start]
        if not gaps:
            self._lose(f"damaged at {ends[0] / rate:.2f} s: it ends there")
            return
        at, until = gaps[0]
        more = f", and in {len(gaps) - 1} more places" if len(gaps) > 1 else ""
        self._lose(
            f"damaged at {at / rate:.2f} s: silence from there to {until / rate:.2f} s{more}"
        )

    def _lose(self, what: str) -> None:
        if what not in self.losses:
            self.losses.append(what)
            if self._warn:
                _warn_once(self.name, what)


@lru_cache(maxsize=10_000)
def _warn_once(name: str, what: str) -> None:
    """Files of a training or a comparison are opened again and again."""
    logger.warning("%s: %s", name, what)


@dataclass(frozen=True)
class _Piece:
    """What can be decoded without a gap: its place in the recording, in frames."""

    start: int
    frames: int
    open: "Callable[[], soundfile.SoundFile]"

    @property
    def end(self) -> int:
        return self.start + self.frames


class _Decoder:
    """Decodes from any position. A decoder that failed is no longer of use: it is opened anew."""

    def __init__(self, open_file: "Callable[[], soundfile.SoundFile]", channels: int) -> None:
        self._open, self._channels = open_file, channels
        self._file: soundfile.SoundFile | None = None
        self._at = 0

    def __enter__(self) -> "_Decoder":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def read(self, at: int, wanted: int) -> Float32Array:
        """Frames [n, C] from position `at` on, up to `wanted`; fewer before damage, none at it."""
        decoded = np.full((wanted, self._channels), np.nan, np.float32)
        try:
            if self._file is None:
                self._file, self._at = self._open(), 0
            if self._at != at:
                self._file.seek(at)
            block: Float32Array = self._file.read(out=decoded)
            self._at = at + len(block)
            return block
        except Exception:  # the bytes decide what libsndfile raises
            self.__exit__()
            return decoded[: len(decoded) - int(np.isnan(decoded[:, 0]).sum())]


def _remedy(name: str, kind: str, why: str, begin: bytes) -> str:
    """What to do about a file of a kind, with these first bytes, that libsndfile refused."""
    if not has_audio(kind):
        return "give an audio file, or copy or record it again"
    other_codec = kind != "FLAC" and any(words in why for words in _OTHER_CODEC)
    if kind == "WAV":
        at = begin.find(b"fmt ")
        channels, rate = begin[at + 10 : at + 12], begin[at + 12 : at + 16]
        other_codec = other_codec and (at < 0 or (any(channels) and any(rate)))
    if kind and (kind not in _READABLE or other_codec):
        return f"convert it first: ffmpeg -i {quoted(name)} audio.wav"
    return "copy or record it again"
