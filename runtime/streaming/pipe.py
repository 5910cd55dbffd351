"""Audio through a pipe: bytes in, bytes of the same format out, as soon as they are done."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from types import FrameType, TracebackType
from typing import Any, BinaryIO

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.magic import MAGIC_BYTES
from frcrn_export.runtime.errors import AudioError
from frcrn_export.runtime.streaming.audio_stream import AudioStream, Meter
from frcrn_export.runtime.streaming.pcm import (
    PcmSpec,
    not_wav,
    read_wav_header,
    wav_header,
)

_WAV_BEGINS = (b"RIFF", b"RF64")


class Interrupt:
    """Ctrl-C and SIGTERM only end the reading; what was read is still written.

    A second one ends the program.
    """

    def __init__(self) -> None:
        self.requested = self._reading = False

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def reading(self, read: Callable[[], Any]) -> Any:
        """The result of `read`; None if interrupted during it or before."""
        try:
            self._reading = True
            return None if self.requested else read()
        except KeyboardInterrupt:
            return None
        finally:
            self._reading = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if self._reading or again:
            raise KeyboardInterrupt


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class PipeReader:
    """Reads frames from a pipe; `spec` is their format, from the WAV header or of raw PCM.

    `raw` describes raw PCM; None takes WAV and RF64 alone. Raises AudioError for a header that
    cannot be used, and for everything else, by its name.
    """

    def __init__(self, stream: BinaryIO, raw: PcmSpec | None) -> None:
        self._stream = stream
        self._held = b""  # bytes of an incomplete frame
        self.truncated = False
        self.is_wav = False
        self.another = False  # a second WAV behind the end of the first; it is not read
        self._missing: int | None = None
        if raw is None:
            begin = self._exactly(4)
            if begin not in _WAV_BEGINS:
                raise not_wav(begin + self._exactly(MAGIC_BYTES - 4))
            self.is_wav = True
            raw, self._missing = read_wav_header(self._exactly)
        self.spec = raw
        self.data_bytes = self._missing

    def read(self, frames: int) -> Float32Array | None:
        """The frames that have arrived, [C, 1 to `frames`]; waits for one. None at the end."""
        size = self.spec.frame_bytes
        while data := self._next(frames * size - len(self._held)):
            self._held += data
            if len(self._held) >= size:
                break
        whole = len(self._held) // size * size
        if not whole:
            self.truncated = bool(self._held or self._missing)
            self.another = self._missing == 0 and _waiting(self._stream).startswith(_WAV_BEGINS)
            return None
        block, self._held = self._held[:whole], self._held[whole:]
        return self.spec.decode(block)

    def _next(self, count: int) -> bytes:
        """At most `count` bytes of samples; none at their end."""
        if self._missing is None:
            return _some(self._stream, count)
        data = _some(self._stream, min(count, self._missing)) if self._missing else b""
        self._missing -= len(data)
        return data

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count and (part := _some(self._stream, count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def _some(stream: BinaryIO, count: int) -> bytes:
    """At most `count` bytes, as soon as there are any; none at the end."""
    data: bytes = stream.read1(count) if hasattr(stream, "read1") else stream.read(count)
    return data


def _waiting(stream: BinaryIO) -> bytes:
    """The first bytes that have arrived already, without waiting for any; they stay unread."""
    if not isinstance(stream, BufferedReader):
        return b""
    try:
        number = stream.fileno()
        os.set_blocking(number, False)
    except (OSError, AttributeError):  # no file, or not on this system
        return b""
    try:
        return bytes(stream.peek(len(_WAV_BEGINS[0])))
    finally:
        os.set_blocking(number, True)


class PipeWriter:
    """Writes frames to a pipe at once. WAV gets a header, corrected at the end where possible.

    Once the reader is gone, `broken` is True and nothing is written.
    """

    def __init__(self, stream: BinaryIO, spec: PcmSpec, wav: bool, data_bytes: int | None) -> None:
        self._stream, self._spec = stream, spec
        self._wav = wav
        self._written = 0
        self._promised = data_bytes
        self.broken = False
        self.clipped = 0  # samples beyond full scale, which integers cannot hold
        self._header = wav_header(spec, data_bytes) if wav else b""
        self._send(self._header)

    def write(self, audio: Float32Array) -> None:
        """Append [C, n]."""
        self.clipped += self._spec.beyond(audio)
        data = self._spec.encode(audio)
        self._written += len(data)
        self._send(data)

    def close(self) -> None:
        """Correct the length in the header, where it is wrong and the output can seek."""
        if self._wav and not self.broken and self._written != self._promised:
            header = wav_header(self._spec, self._written)
            with suppress(OSError, ValueError):
                size = len(self._header) + self._written
                if len(header) == len(self._header) and _rewritable(self._stream, size):
                    self._stream.seek(0)
                    self._send(header)
                    self._stream.seek(0, os.SEEK_END)

    def _send(self, data: bytes) -> None:
        if self.broken or not data:
            return
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError:
            self.broken = True
            with suppress(OSError, ValueError):  # else Python reports an error at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        except OSError as error:
            raise AudioError(f"standard output cannot be written ({error.strerror})") from error


def _rewritable(stream: BinaryIO, size: int) -> bool:
    """Whether this is a file of `size` bytes, written from its beginning and not appended to."""
    if not stream.seekable() or stream.tell() != size:
        return False
    try:
        import fcntl

        return not fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_APPEND
    except ImportError:  # not on Windows
        return False


@dataclass(frozen=True)
class Pipe:
    """A stream between a reader and a writer; at most `block_frames` are read at once."""

    reader: PipeReader
    writer: PipeWriter
    stream: AudioStream
    block_frames: int

    def run(self, meter: Meter, interrupt: Interrupt, show: Callable[[], None]) -> None:
        """Until the input ends, the reader of the output has gone, or an interrupt."""
        while not self.writer.broken:
            block = interrupt.reading(lambda: self.reader.read(self.block_frames))
            if block is None:
                break
            with meter.call():
                done = self.stream.process(block)
            self.writer.write(done)
            show()
        self.writer.write(self.stream.flush())
        self.writer.close()
