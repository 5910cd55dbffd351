"""Samples as bytes: raw PCM, and WAV headers in a pipe."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.header import known_size
from frcrn_export.runtime.audio.magic import has_audio, kind_of
from frcrn_export.runtime.audio.source import MAX_CHANNELS, MAX_RATE, MIN_RATE
from frcrn_export.runtime.errors import AudioError

# Bytes for each sample; named as in ffmpeg.
FORMATS = {"s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4}

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORMAT_OF = {(_PCM, 16): "s16le", (_PCM, 24): "s24le", (_PCM, 32): "s32le", (_FLOAT, 32): "f32le"}
_UNKNOWN = 0xFFFFFFFF
_CONVERT = "convert it on the way: ffmpeg -i - -c:a pcm_s16le -f wav -"
_SAY_RAW = "raw PCM as --format s16le says it, with --rate and --channels"
_SKIP_BYTES = 1 << 16

ReadExactly = Callable[[int], bytes]


@dataclass(frozen=True)
class PcmSpec:
    """The format of PCM bytes: sample format, rate in Hz, interleaved channels.

    Raises AudioError for a rate or a number of channels out of range.
    """

    format: str
    sample_rate: int
    channels: int

    def __post_init__(self) -> None:
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise AudioError(
                f"a sample rate of {self.sample_rate} Hz; it must be {MIN_RATE} to {MAX_RATE}"
            )
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioError(f"{self.channels} channels; there must be 1 to {MAX_CHANNELS}")

    @property
    def frame_bytes(self) -> int:
        """One sample of every channel."""
        return FORMATS[self.format] * self.channels

    def decode(self, data: bytes) -> Float32Array:
        """Whole frames -> [C, n] float32 in [-1, 1]."""
        if self.format == "f32le":
            samples = np.frombuffer(data, "<f4").astype(np.float32)
        elif self.format == "s16le":
            samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)
        else:
            if self.format == "s24le":
                padded = np.zeros((len(data) // 3, 4), np.uint8)
                padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
                data = padded.tobytes()
            samples = np.frombuffer(data, "<i4").astype(np.float32) / np.float32(1 << 31)
        return samples.reshape(-1, self.channels).T

    def beyond(self, audio: Float32Array) -> int:
        """How many samples `encode` clips."""
        return 0 if self.format == "f32le" else int(np.count_nonzero(np.abs(audio) > 1.0))

    def encode(self, audio: Float32Array) -> bytes:
        """[C, n] float32 -> whole frames; integers are rounded, and clipped at full scale."""
        samples = np.ascontiguousarray(audio.T)
        if self.format == "f32le":
            return samples.astype("<f4").tobytes()
        bits = 8 * FORMATS[self.format]
        full = 1 << (bits - 1)
        values = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1)
        if self.format == "s24le":
            return values.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        return values.astype(f"<i{bits // 8}").tobytes()


def read_wav_header(read: ReadExactly) -> tuple[PcmSpec, int | None]:
    """Read from after "RIFF" or "RF64" up to the samples: their format, and their number of bytes.

    The number is None where the writer did not know it. `read(n)` gives n bytes, fewer at the end.
    Raises AudioError for anything but WAV in a supported format.
    """
    if read(8)[4:] != b"WAVE":
        raise AudioError("standard input: RIFF, but not WAV; give WAV, or raw PCM with --format")
    spec, long_bytes = None, None
    while True:
        head = read(8)
        if len(head) < 8:
            raise AudioError("standard input: a WAV header without samples; send the file again")
        kind, size = struct.unpack("<4sI", head)
        if kind == b"data":
            break
        if kind == b"fmt ":
            spec = _spec(_body(read, size))
        elif kind == b"ds64":
            long_bytes = _long_bytes(_body(read, size))
        else:
            _skip(read, size + size % 2)
    if spec is None:
        raise AudioError("standard input: a WAV header that says no format; send the file again")
    if size == _UNKNOWN and long_bytes is not None:
        return spec, long_bytes
    return spec, known_size(size)


def not_wav(begin: bytes) -> AudioError:
    """The error for input that begins with these bytes, neither WAV nor described as raw PCM."""
    if not begin:
        return AudioError(f"standard input: nothing came; give WAV, or {_SAY_RAW}")
    if kind := kind_of(begin):
        remedy = _CONVERT if has_audio(kind) else f"give WAV, or {_SAY_RAW}"
        return AudioError(f"standard input: {kind}, not WAV; {remedy}")
    return AudioError(f"standard input: no WAV header; {_SAY_RAW}; of all else, {_CONVERT}")


def wav_header(spec: PcmSpec, data_bytes: int | None) -> bytes:
    """A WAV header for this many bytes of samples, RF64 beyond 4 GiB; None means unknown."""
    head_bytes = 44
    size = _UNKNOWN if data_bytes is None else data_bytes
    sample_bytes = FORMATS[spec.format]
    tag = _FLOAT if spec.format == "f32le" else _PCM
    begin = struct.pack("<4sI4s", b"RIFF", min(size + head_bytes - 8, _UNKNOWN), b"WAVE")
    if size + head_bytes > _UNKNOWN and data_bytes is not None:
        riff = size + head_bytes - 8 + 36
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, riff, size, size // spec.frame_bytes, 0)
        begin, size = struct.pack("<4sI4s", b"RF64", _UNKNOWN, b"WAVE") + sizes, _UNKNOWN
    return begin + struct.pack(
        "<4sIHHIIHH4sI",
        b"fmt ",
        16,
        tag,
        spec.channels,
        spec.sample_rate,
        spec.sample_rate * spec.frame_bytes,
        spec.frame_bytes,
        8 * sample_bytes,
        b"data",
        size,
    )


def _body(read: ReadExactly, size: int) -> bytes:
    """The first bytes of a RIFF chunk; the rest is skipped."""
    body = read(min(size, 40))
    _skip(read, size + size % 2 - len(body))
    return body


def _skip(read: ReadExactly, count: int) -> None:
    while count > 0:
        skipped = len(read(min(count, _SKIP_BYTES)))
        if not skipped:
            return
        count -= skipped


def _spec(body: bytes) -> PcmSpec:
    if len(body) < 16:
        raise AudioError("standard input: a damaged WAV header; send the file again")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack_from("<H", body, 24)[0]
    format = _FORMAT_OF.get((tag, bits))
    if format is None:
        raise AudioError(f"standard input: WAV of {bits} bits, format {tag}; {_CONVERT}")
    spec = PcmSpec(format, rate, channels)
    if frame_bytes != spec.frame_bytes:
        raise AudioError("standard input: a WAV header that contradicts itself; send it again")
    return spec


def _long_bytes(body: bytes) -> int | None:
    """The number of bytes of samples of an RF64 file."""
    size: int = struct.unpack_from("<Q", body, 8)[0] if len(body) >= 16 else 0
    return size or None
