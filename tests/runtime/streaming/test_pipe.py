import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.streaming.audio_stream import AudioStream, Meter
from frcrn_export.runtime.streaming.network import Network, open_network
from frcrn_export.runtime.streaming.pcm import PcmSpec, wav_header
from frcrn_export.runtime.streaming.pipe import Interrupt, Pipe, PipeReader, PipeWriter
from tests.streaming_bundles import Core, write_streaming_bundle

MONO = PcmSpec("s16le", 16_000, 1)


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time, and ends samples in the middle."""

    sizes = (1, 3, 7, 2, 640, 5)
    reads = 0

    def read1(self, count: int | None = -1, /) -> bytes:
        self.reads += 1
        return self.read(min(count or 0, self.sizes[self.reads % len(self.sizes)]))


class Closed(io.BytesIO):
    """A pipe whose reader goes away after a while."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: object) -> int:
        if self.tell() > self.room:
            raise BrokenPipeError
        return super().write(data)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("pipe") / "bundle"
    return open_network(write_streaming_bundle(path, Core(chunk=16), None), "onnxruntime", 1)


def samples(count: int, channels: int = 1) -> bytes:
    return np.arange(count * channels, dtype="<i2").tobytes()


def run(
    network: Network,
    data: bytes,
    out: io.BytesIO | None = None,
    raw: PcmSpec | None = None,
) -> tuple[bytes, Pipe, Meter]:
    out = out or io.BytesIO()
    reader = PipeReader(Trickle(data), raw)
    writer = PipeWriter(out, reader.spec, reader.is_wav, reader.data_bytes)
    stream = AudioStream(network, reader.spec.sample_rate, reader.spec.channels)
    pipe, meter = Pipe(reader, writer, stream, 16), Meter(stream)
    with Interrupt() as interrupt:
        pipe.run(meter, interrupt, lambda: None)
    return out.getvalue(), pipe, meter


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 16, 1_000])
def test_raw_samples_go_through(network: Network, channels: int, count: int) -> None:
    data = samples(count, channels)
    out, pipe, meter = run(network, data, raw=PcmSpec("s16le", 16_000, channels))
    assert out == data
    assert not pipe.reader.truncated
    assert meter.audio_seconds == count / 16_000


@pytest.mark.parametrize("known", [True, False])
def test_wav_goes_through_and_stays_what_it_was(network: Network, known: bool) -> None:
    spec = PcmSpec("s16le", 16_000, 2)
    data = wav_header(spec, 4_000 if known else None) + samples(1_000, 2)
    out, pipe, _ = run(network, data, out=Unseekable())
    assert out == data
    assert pipe.reader.is_wav
    assert not pipe.reader.truncated


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


def test_what_is_long_stays_rf64(network: Network) -> None:
    data = wav_header(MONO, 1 << 33) + samples(1_000)
    out, pipe, _ = run(network, data, out=Unseekable())
    assert out == data
    assert pipe.reader.truncated


def test_what_follows_the_samples_of_wav_is_left_out(network: Network) -> None:
    data = wav_header(MONO, 2_000) + samples(1_000)
    out, _, _ = run(network, data + b"LIST\4\0\0\0abcd")
    assert out == data


def test_input_that_ends_early_is_said(network: Network) -> None:
    _, pipe, _ = run(network, wav_header(MONO, 2_000) + samples(500))
    assert pipe.reader.truncated
    out, pipe, _ = run(network, samples(100) + b"\1", raw=MONO)
    assert (out, pipe.reader.truncated) == (samples(100), True)


def test_a_named_format_is_not_looked_through(network: Network) -> None:
    data = b"RIFF" + samples(100)
    assert run(network, data, raw=MONO)[0] == data


def test_the_header_of_a_file_is_corrected(network: Network, tmp_path: Path) -> None:
    data = samples(1_000)
    for mode, expected in (("wb", 2_000), ("ab", 0xFFFFFFFF)):
        path = tmp_path / mode
        with path.open(mode) as file:
            reader = PipeReader(Trickle(wav_header(MONO, None) + data), None)
            writer = PipeWriter(file, MONO, True, reader.data_bytes)
            with Interrupt() as interrupt:
                stream = AudioStream(network, 16_000)
                Pipe(reader, writer, stream, 16).run(Meter(stream), interrupt, lambda: None)
        size = int.from_bytes(path.read_bytes()[40:44], "little")
        assert (size, path.read_bytes()[44:]) == (expected, data)


def test_it_ends_when_the_reader_has_gone(network: Network) -> None:
    out, pipe, meter = run(network, samples(10_000), out=Closed(1_000), raw=MONO)
    assert pipe.writer.broken
    assert out == samples(10_000)[: len(out)]
    assert 1_000 < len(out) < 1_100
    assert meter.audio_seconds < 0.1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_reading_alone(network: Network, number: int) -> None:
    class Interrupted(Trickle):
        def read1(self, count: int | None = -1, /) -> bytes:
            if self.tell() > 1_000:
                os.kill(os.getpid(), number)
            return super().read1(count)

    before = signal.getsignal(number)
    reader = PipeReader(Interrupted(samples(10_000)), MONO)
    out = io.BytesIO()
    stream = AudioStream(network, 16_000)
    with Interrupt() as interrupt:
        pipe = Pipe(reader, PipeWriter(out, MONO, False, None), stream, 16)
        pipe.run(Meter(stream), interrupt, lambda: None)
        assert interrupt.requested
        assert interrupt.reading(lambda: 1) is None
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
    assert 900 < len(out.getvalue()) < 1_100
    assert out.getvalue() == samples(10_000)[: len(out.getvalue())]


def test_between_reads_an_interrupt_waits() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested
