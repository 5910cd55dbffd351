import io
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from frcrn_export.runtime.audio import spool
from frcrn_export.runtime.audio.formats import AudioFormat
from frcrn_export.runtime.audio.spool import STANDARD, delivered, is_stream, spooled, suffix_like
from frcrn_export.runtime.errors import AudioError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def named_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def test_files_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"abc")
    assert not is_stream(path)
    assert not is_stream(tmp_path)
    assert not is_stream(tmp_path / "none")
    assert not is_stream(Path("/dev/shm/none.wav"))
    assert not is_stream(Path("/dev/shm"))
    with spooled(path) as read, delivered(path, ".wav") as written:
        assert read == written == path


@pytest.mark.parametrize(
    "name", ["-", "/dev/stdin", "/dev/stdout", "/dev/fd/63", "/proc/self/fd/9", "/dev/null"]
)
def test_what_is_a_stream(name: str) -> None:
    assert is_stream(Path(name))


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_kept_while_it_is_read(
    name: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"0123456789" * 300_000)
    with spooled(Path(name)) as path:
        assert path.read_bytes() == b"0123456789" * 300_000
    assert list(temporary.iterdir()) == []


def test_a_named_pipe_is_kept(tmp_path: Path, temporary: Path) -> None:
    pipe = named_pipe(tmp_path / "pipe")
    thread = threading.Thread(target=pipe.write_bytes, args=(b"abc" * 100_000,))
    thread.start()
    with spooled(pipe) as path:
        assert path.read_bytes() == b"abc" * 100_000
    thread.join()
    assert list(temporary.iterdir()) == []


def test_too_much_is_refused(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_SPOOLED_BYTES", 1_000)
    feed(monkeypatch, bytes(1_001))
    with pytest.raises(AudioError, match="more than 0 GiB came; give a file"), spooled(STANDARD):
        pass
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_closed_stream_is_refused(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, stream, None)
    with pytest.raises(AudioError, match="is closed; use a pipe or a file"):
        if stream == "stdin":
            with spooled(STANDARD):
                pass
        else:
            with delivered(STANDARD, ".wav") as path:
                path.write_bytes(b"abc")


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_gets_the_file_at_the_end(
    name: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    with delivered(Path(name), ".flac") as path:
        path.write_bytes(b"abc")
        assert path.suffix == ".flac"
        assert out.getvalue() == b""
    assert out.getvalue() == b"abc"
    assert list(temporary.iterdir()) == []


def test_an_error_delivers_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    with pytest.raises(KeyboardInterrupt), delivered(STANDARD, ".wav") as path:
        path.write_bytes(b"abc")
        raise KeyboardInterrupt
    assert out.getvalue() == b""
    assert list(temporary.iterdir()) == []


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with delivered(Path(f"/dev/fd/{writing}"), ".wav") as path:
        path.write_bytes(b"abc")
    os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_one_line(temporary: Path) -> None:
    with (
        pytest.raises(AudioError, match="/dev/full: cannot be written .No space left on device"),
        delivered(Path("/dev/full"), ".wav") as path,
    ):
        path.write_bytes(bytes(100_000))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("container", "subtype", "suffix"),
    [
        ("WAV", "PCM_16", ".wav"),
        ("WAVEX", "PCM_24", ".wav"),
        ("RF64", "PCM_24", ".rf64"),
        ("OGG", "OPUS", ".opus"),
        ("OGG", "VORBIS", ".ogg"),
        ("FLAC", "PCM_24", ".flac"),
        ("MP3", "MPEG_LAYER_III", ".mp3"),
        ("SD2", "PCM_16", ".wav"),
    ],
)
def test_the_container_of_the_input_is_kept(container: str, subtype: str, suffix: str) -> None:
    assert suffix_like(AudioFormat(container, subtype)) == suffix
