"""Audio files written block by block; nothing half-written stays."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.formats import output_format
from frcrn_export.runtime.audio.partial import partial_of
from frcrn_export.runtime.audio.source import BLOCK_FRAMES
from frcrn_export.runtime.audio.tags import read_tags, write_tags
from frcrn_export.runtime.errors import AudioError, reason

if TYPE_CHECKING:
    import soundfile

# libsndfile rounds towards minus infinity, so we round to whole steps first.
_STEPS = {"PCM_S8": 1 << 7, "PCM_U8": 1 << 7, "PCM_16": 1 << 15, "PCM_24": 1 << 23}
# Subtypes without a full scale, or whose decoders decide about it.
_UNBOUNDED = {"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III"}


class FileWriter:
    """Writes blocks to a new audio file with the rate, channels and length of a source.

    A context manager: the samples go to a temporary file in the same folder, which is renamed at
    the end, or removed after an error. `format` follows from the suffix (see
    `frcrn_export.runtime.audio.formats.output_format`). Raises AudioError before any work where
    that is impossible, and where writing fails.

    Attributes:
        clipped: Samples beyond full scale, which an integer subtype cannot hold.
    """

    def __init__(self, path: Path, like: FileSource, name: str | None = None) -> None:
        """Choose the format; `name` is what errors show, None for the path."""
        self.path = path
        self.name = str(path) if name is None else name
        self.format = output_format(path, like, like.audio_format)
        self.clipped = 0
        self._like = like
        with like.open() as file:
            self._tags = read_tags(file)
        self._lost_tags: list[str] = []
        self._written = 0
        self._partial = partial_of(path)
        self._file: soundfile.SoundFile | None = None

    def __enter__(self) -> "FileWriter":
        return self

    @property
    def losses(self) -> list[str]:
        """What of the source is not in the file, in words; complete at the end."""
        bits = f"{self.clipped} samples clipped: {self.format.subtype} ends at full scale"
        tags = f"tags left out: {', '.join(self._lost_tags)}"
        chunks = f"chunks left out: {', '.join(self._like.other_chunks)}"
        said = ((self.clipped, bits), (self._lost_tags, tags), (self._like.other_chunks, chunks))
        return [*self._like.losses, *(text for there_is, text in said if there_is)]

    def write(self, block: Float32Array) -> None:
        """Append [C, n]; integer subtypes are rounded, and clipped at full scale."""
        subtype = self.format.subtype
        if subtype not in _UNBOUNDED:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1.0))
        if steps := _STEPS.get(subtype):
            block = np.rint(block * np.float32(steps)) / np.float32(steps)
        with self._writing():
            if self._file is None:
                self._file = self._create()
            # libsndfile's Vorbis encoder overflows its stack on very long writes.
            for start in range(0, block.shape[1], BLOCK_FRAMES):
                self._file.write(block[:, start : start + BLOCK_FRAMES].T)
        self._written += block.shape[1]

    def _create(self) -> "soundfile.SoundFile":
        import soundfile

        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = soundfile.SoundFile(
            os.fsencode(self._partial),
            "w",
            samplerate=self._like.sample_rate,
            channels=self._like.channels,
            format=self.format.container,
            subtype=self.format.subtype,
        )
        write_tags(file, self._tags)
        return file

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None:  # nothing written, or interrupted while the file was made
            with suppress(OSError):  # no file where there can be none
                self._partial.unlink(missing_ok=True)
            return
        try:
            with self._writing():
                self._file.close()
            if kind is None:
                self._check()
                with self._writing():
                    self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    def _check(self) -> None:
        """Read the header again. Raises AudioError where it holds fewer samples than were given."""
        import soundfile

        with self._writing(), soundfile.SoundFile(os.fsencode(self._partial)) as file:
            frames = file.frames
            self._lost_tags = self._tags.missing_in(read_tags(file))
        if frames < self._written:
            raise AudioError(
                f"{self.name}: {self.format.container} kept {frames} of {self._written} samples; "
                "use .wav or .flac"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # libsndfile does not say what the system said
            why = _refusal(self._partial) or reason(error)
            raise AudioError(
                f"{self.name}: cannot be written ({why}); choose another place with -o"
            ) from error


def _refusal(path: Path) -> str:
    """What the system says to a few more bytes in a file."""
    try:
        with path.open("ab") as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        return reason(error)
    return ""
