"""Audio files read and written block by block: WAV, FLAC, OGG, MP3 and more of libsndfile."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.source import BLOCK_FRAMES, check_format, finite_blocks
from frcrn_export.runtime.errors import AudioError, reading

if TYPE_CHECKING:
    import soundfile

# What libsndfile notes while it opens a file whose end is missing.
_SHORT_DATA = re.compile(r"^ *(?:data|SSND|riff|Data Size) +: (\d+) \(should be", re.MULTILINE)
_SHORT_OGG = "lacks an end-of-stream bit"
# Sizes that programs write into a pipe, where they do not know the length yet.
_UNKNOWN_BYTES = 0x7FFF0000
# An MP3 without an index states its length only roughly.
_MP3_TOLERANCE_FRAMES = 4 * 1152

# libsndfile rounds towards minus infinity, so we round to whole steps first.
_STEPS = {"PCM_S8": 1 << 7, "PCM_U8": 1 << 7, "PCM_16": 1 << 15, "PCM_24": 1 << 23}

_FORMAT_OF_SUFFIX = {"AIF": "AIFF", "OGA": "OGG", "OPUS": "OGG"}


class FileSource:
    """An audio file as a source.

    Raises AudioError where the file is missing, of zero length, not audio, without samples or
    truncated; some truncated files are noticed only when their blocks are read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        if not path.is_file():
            raise AudioError(f"{path}: no such file; give an audio file or a folder of them")
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: a file of zero length; record or copy it again")
        with self._open() as file:
            self.sample_rate: int = file.samplerate
            self.channels: int = file.channels
            self.frames: int = file.frames
            self.format: str = file.format
            self.subtype: str = file.subtype
            log: str = file.extra_info
        short = _SHORT_DATA.search(log)
        if (short and int(short[1]) < _UNKNOWN_BYTES) or _SHORT_OGG in log:
            raise self._truncated()
        check_format(self.name, self.channels, self.frames, self.sample_rate)

    def blocks(self) -> Iterator[Float32Array]:
        """Blocks [C, n] float32. Raises AudioError where the file ends early or is damaged."""
        return finite_blocks(self.name, self._blocks())

    def _open(self) -> "soundfile.SoundFile":
        import soundfile

        remedy = "convert it to WAV or FLAC first"
        with reading(self.path, "cannot be read as audio", remedy, AudioError):
            try:
                return soundfile.SoundFile(os.fsencode(self.path))  # names need not be UTF-8
            except soundfile.LibsndfileError as error:
                raise ValueError(error.error_string.rstrip(".")) from error

    def _blocks(self) -> Iterator[Float32Array]:
        missing = self.frames
        with self._open() as file:
            while missing:
                wanted = min(BLOCK_FRAMES, missing)  # a damaged MP3 goes on after its own end
                try:
                    block = file.read(wanted, dtype="float32", always_2d=True)  # [n, C]
                except Exception as error:  # the bytes decide what libsndfile raises
                    raise self._truncated() from error
                if not len(block):
                    break
                missing -= len(block)
                yield np.ascontiguousarray(block.T)
        if missing > (_MP3_TOLERANCE_FRAMES if self.format == "MP3" else 0):
            raise self._truncated()
        if missing:
            yield np.zeros((self.channels, missing), np.float32)

    def _truncated(self) -> AudioError:
        return AudioError(f"{self.path}: truncated or damaged; copy or record it again")


class FileWriter:
    """Writes blocks to a new audio file with the rate, channels and subtype of a source.

    A context manager: the samples go to a temporary file in the same folder, which is renamed at
    the end, or removed after an error. The suffix of `path` chooses the format; a format that lacks
    the source's subtype gets its own default. Raises AudioError where the suffix is of no format
    that can be written, or writing fails.
    """

    def __init__(self, path: Path, like: FileSource) -> None:
        self.path = path
        self._like = like
        self._format, self._subtype = _format_for(path, like)
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._file: soundfile.SoundFile | None = None

    def __enter__(self) -> "FileWriter":
        return self

    def write(self, block: Float32Array) -> None:
        """Append [C, n]; integer subtypes are rounded, and clipped at full scale."""
        import soundfile

        if steps := _STEPS.get(self._subtype):
            block = np.rint(block * np.float32(steps)) / np.float32(steps)
        try:
            if self._file is None:
                self._file = self._create()
            # libsndfile's Vorbis encoder overflows its stack on very long writes.
            for start in range(0, block.shape[1], BLOCK_FRAMES):
                self._file.write(block[:, start : start + BLOCK_FRAMES].T)
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(f"{self.path}: cannot be written ({error})") from error

    def _create(self) -> "soundfile.SoundFile":
        import soundfile

        self.path.parent.mkdir(parents=True, exist_ok=True)
        return soundfile.SoundFile(
            os.fsencode(self._partial),
            "w",
            samplerate=self._like.sample_rate,
            channels=self._like.channels,
            format=self._format,
            subtype=self._subtype,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)


def _format_for(path: Path, like: FileSource) -> tuple[str, str]:
    """Format and subtype for a new file."""
    import soundfile

    if path.suffix.lower() == like.path.suffix.lower():
        return like.format, like.subtype
    suffix = path.suffix[1:].upper()
    format = _FORMAT_OF_SUFFIX.get(suffix, suffix)
    if format not in soundfile.available_formats() or format == "RAW":
        raise AudioError(f"{path}: {path.suffix!r} is no audio format; use .wav, .flac or .ogg")
    if soundfile.check_format(format, like.subtype):
        return format, like.subtype
    return format, soundfile.default_subtype(format)
