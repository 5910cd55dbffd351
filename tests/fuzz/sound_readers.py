"""Audio files, and audio on standard input."""

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np

from tests.fuzz.bundle_readers import bundles
from tests.fuzz.reader import RATE, command, noise


def recordings(folder: Path) -> list[bytes]:
    import soundfile

    found = []
    for format in ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64"):
        stream = io.BytesIO()
        soundfile.write(stream, noise(), RATE, format=format)
        found.append(stream.getvalue())
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((500, 2)), 48_000, format="WAV", subtype="MS_ADPCM")
    return [*found, stream.getvalue()]


def change_chunks(random: Random, data: bytes) -> bytes:
    """A chunk of RIFF with another size, twice, in another place, or among many."""
    starts = [at for at, _ in _chunks(data)]
    at = random.choice(starts)
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    chunk = data[at : at + 8 + size]
    kind = random.randrange(4)
    if kind == 0:
        new = random.choice((0, 1, 15, 2**31 - 1, 2**32 - 1, 0x7FFFF000)).to_bytes(4, "little")
        return data[: at + 4] + new + data[at + 8 :]
    if kind == 1:
        return data[:at] + chunk + data[at:]
    if kind == 2:
        return data[:12] + (b"LIST" + bytes(4)) * random.choice((1, 10_000)) + data[12:]
    return data[:at] + data[at + len(chunk) :]


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 12
    while at + 8 <= len(data):
        yield at, data[at : at + 4]
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")


def read_recording(folder: Path, data: bytes) -> None:
    path = folder / "given.wav"
    path.write_bytes(data)
    command("denoise", bundles(folder)[0], path, "-o", folder / "o.wav", "--force")


def pipes(folder: Path) -> list[bytes]:
    wav = [data for data in recordings(folder) if data[:4] in (b"RIFF", b"RF64")]
    return [*wav, noise().tobytes()]


def read_pipe(folder: Path, data: bytes) -> None:
    command("stream", bundles(folder)[2], stdin=data)
    command("stream", bundles(folder)[2], "--format", "s24le", "--rate", "44100", stdin=data)
