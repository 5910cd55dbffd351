import io
import struct
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime import AudioError
from frcrn_export.runtime.audio.header import known_size
from frcrn_export.runtime.streaming.pcm import FORMATS, PcmSpec, read_wav_header, wav_header

SUBTYPES = {"s16le": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32", "f32le": "FLOAT"}


def noise(channels: int, samples: int, peak: float = 1.2) -> np.ndarray:
    values = np.random.default_rng(0).uniform(-peak, peak, (channels, samples))
    return values.astype(np.float32)


def wav(audio: np.ndarray, format: str, container: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio.T, 16_000, SUBTYPES[format], format=container)
    return file.getvalue()


def parse(data: bytes) -> tuple[PcmSpec, int | None, bytes]:
    file = io.BytesIO(data)
    assert file.read(4) in (b"RIFF", b"RF64")
    return *read_wav_header(file.read), file.read()


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_are_those_that_libsndfile_reads(format: str, channels: int) -> None:
    data = wav(noise(channels, 1_000), format)
    spec, count, body = parse(data)
    assert spec == PcmSpec(format, 16_000, channels)
    assert count == 1_000 * spec.frame_bytes
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    np.testing.assert_array_equal(spec.decode(body[:count]), expected.T)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_bytes_come_back_as_they_were(format: str) -> None:
    spec, count, body = parse(wav(noise(2, 1_000), format))
    assert spec.encode(spec.decode(body[:count])) == body[:count]


@pytest.mark.parametrize("format", ["s16le", "s24le", "s32le"])
def test_integers_are_rounded_and_clipped(format: str) -> None:
    spec = PcmSpec(format, 16_000, 1)
    step = 2.0 ** (1 - 8 * FORMATS[format])
    given = np.array([[1.5, -1.5, 0.7 * step, -0.7 * step, -0.2 * step]], np.float32)
    expected = [1 - step, -1, step, -step, 0]
    np.testing.assert_array_equal(spec.decode(spec.encode(given))[0], np.float32(expected))


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_what_is_written_can_be_read(format: str) -> None:
    spec = PcmSpec(format, 44_100, 2)
    body = spec.encode(noise(2, 500))
    read, rate = soundfile.read(io.BytesIO(wav_header(spec, len(body)) + body), dtype="float32")
    assert rate == 44_100
    np.testing.assert_array_equal(read.T, spec.decode(body))
    assert parse(wav_header(spec, len(body)))[:2] == (spec, len(body))


@pytest.mark.parametrize("size", [0, 0x7FFFFFDB, 0xFFFFFFFF, 0x7FFF0000])
def test_lengths_that_the_writer_did_not_know(size: int) -> None:
    header = bytearray(wav_header(PcmSpec("s16le", 16_000, 1), 4))
    header[-4:] = struct.pack("<I", size)
    assert parse(bytes(header))[1] is None


def test_lengths_that_are_not_known_or_do_not_fit() -> None:
    spec = PcmSpec("s16le", 16_000, 1)
    header = wav_header(spec, None)
    assert header[4:8] == header[-4:] == b"\xff\xff\xff\xff"
    assert parse(header)[1] is None
    for count in (3 << 30, (1 << 32) - (1 << 17), 1 << 32, 1 << 40):
        assert parse(wav_header(spec, count))[:2] == (spec, count)
    assert wav_header(spec, 1 << 40).startswith(b"RF64")


specs = st.builds(
    PcmSpec, st.sampled_from(sorted(FORMATS)), st.integers(1_000, 768_000), st.integers(1, 64)
)


@given(specs, st.integers(0, 1 << 40))
def test_headers_say_what_they_were_given(spec: PcmSpec, frames: int) -> None:
    count = frames * spec.frame_bytes
    read, size, _ = parse(wav_header(spec, count))
    # Beyond 4 GiB the number has 64 bits, in which no size is special.
    assert (read, size) == (spec, known_size(count) if count < 0xFFFFFF00 else count)


@given(specs, st.binary(max_size=3_000))
def test_any_integers_come_back_as_they_were(spec: PcmSpec, data: bytes) -> None:
    if spec.format not in ("s16le", "s24le"):  # float32 has 24 bits, and NaN
        return
    data = data[: len(data) // spec.frame_bytes * spec.frame_bytes]
    assert spec.encode(spec.decode(data)) == data


def test_other_chunks_and_longer_formats_are_read_over() -> None:
    plain = wav_header(PcmSpec("f32le", 48_000, 2), 16)
    fmt = plain[12:36]
    longer = b"fmt " + struct.pack("<I", 19) + fmt[8:] + b"\0\0\7" + b"\0"
    listed = b"LIST" + struct.pack("<I", 100_001) + bytes(100_002)
    spec, count, body = parse(plain[:12] + listed + longer + listed + plain[36:] + bytes(16))
    assert (spec, count, body) == (PcmSpec("f32le", 48_000, 2), 16, bytes(16))


def test_rf64_and_extensible() -> None:
    audio = noise(2, 300, peak=1.0)
    for container in ("RF64", "WAVEX"):
        spec, count, _ = parse(wav(audio, "s16le", container))
        assert (spec, count) == (PcmSpec("s16le", 16_000, 2), 1_200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h[:8] + b"AVI " + h[12:], "RIFF, but not WAV"),
        (lambda h: h[:38], "header without samples"),
        (lambda h: h[:12] + h[36:], "says no format"),
        (lambda h: h[:16] + struct.pack("<I", 8) + h[20:28] + h[36:], "damaged WAV header"),
        (lambda h: h[:20] + struct.pack("<H", 6) + h[22:], "format 6; convert.*pcm_s16le"),
        (lambda h: h[:34] + struct.pack("<H", 8) + h[36:], "WAV of 8 bits"),
        (lambda h: h[:22] + struct.pack("<H", 0) + h[24:], "0 channels"),
        (lambda h: h[:22] + struct.pack("<H", 65535) + h[24:], "65535 channels"),
        (lambda h: h[:24] + struct.pack("<I", 0) + h[28:], "a sample rate of 0 Hz"),
        (lambda h: h[:32] + struct.pack("<H", 7) + h[34:], "contradicts itself"),
        (lambda h: h[:16] + struct.pack("<I", 0xFFFFFFFF) + h[20:], "header without samples"),
    ],
)
def test_headers_that_cannot_be_used(change: object, message: str) -> None:
    header = wav_header(PcmSpec("s16le", 16_000, 1), 4)
    with pytest.raises(AudioError, match=message) as raised:
        parse(change(header))  # type: ignore[operator]
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_header_does_harm(data: bytes, kept: int) -> None:
    header = wav_header(PcmSpec("s16le", 16_000, 1), 4)[:kept]
    with suppress(AudioError):
        parse((header if len(header) > 3 else b"RIFF") + data)
