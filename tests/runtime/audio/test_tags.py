import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.tags import Tags, read_tags, write_tags
from frcrn_export.runtime.audio.writer import FileWriter

STRINGS = {
    "title": "Größe", "artist": "someone", "comment": "a comment", "date": "2026",
    "album": "an album", "genre": "Speech", "tracknumber": "7", "copyright": "(c) someone",
}  # fmt: skip


def broadcast(version: int = 2) -> bytes:
    """Description, originator, reference, date, time, 3600 s at 48 kHz."""
    fields = b"an interview".ljust(256, b"\0") + b"recorder".ljust(32, b"\0") + bytes(32)
    fields = (fields + b"2026-01-02" + b"10:11:12").ljust(340, b"\0")
    fields = (fields + struct.pack("<IIh", 48_000 * 3600, 0, version)).ljust(604, b"\0")
    return (fields + struct.pack("<I", 13) + b"A=PCM,F=48000").ljust(16_000, b"\0")


def tagged(path: Path, tags: Tags) -> FileSource:
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
        write_tags(file, tags)
        file.write(np.sin(np.arange(1_000)))
    return FileSource(path)


def copied(source: FileSource, path: Path) -> tuple[Tags, list[str]]:
    with FileWriter(path, like=source) as writer:
        for block in source.blocks():
            writer.write(block)
    with soundfile.SoundFile(path) as file:
        return read_tags(file), writer.losses


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".caf", ".rf64"])
def test_strings_are_kept(tmp_path: Path, suffix: str) -> None:
    source = tagged(tmp_path / "a.wav", Tags(STRINGS, None))
    after, losses = copied(source, tmp_path / f"b{suffix}")
    assert (after.strings, losses) == (STRINGS, [])


def test_what_a_container_lacks_is_said(tmp_path: Path) -> None:
    source = tagged(tmp_path / "a.wav", Tags(STRINGS, broadcast()))
    names = [*STRINGS, "bext"]
    assert copied(source, tmp_path / "b.au") == (
        Tags({}, None),
        [f"tags left out: {', '.join(source_order(source, names))}"],
    )
    after, (said,) = copied(source, tmp_path / "b.mp3")
    assert not after.strings.get("title")
    assert said == "tags left out: title, copyright, bext"


def source_order(source: FileSource, names: list[str]) -> list[str]:
    with source.open() as file:
        return sorted(names, key=[*file.copy_metadata(), "bext"].index)


@pytest.mark.parametrize("suffix", [".wav", ".rf64"])
def test_broadcast_fields_are_kept(tmp_path: Path, suffix: str) -> None:
    source = tagged(tmp_path / "a.wav", Tags({}, broadcast()))
    after, losses = copied(source, tmp_path / f"b{suffix}")
    assert losses == []
    assert after.broadcast is not None
    assert after.broadcast[:350] == broadcast()[:350]
    assert b"A=PCM,F=48000" in after.broadcast


@pytest.mark.parametrize("version", [0, 1])
def test_broadcast_fields_of_older_versions_are_kept(tmp_path: Path, version: int) -> None:
    source = tagged(tmp_path / "a.wav", Tags({}, broadcast(2)))
    written = source.path.read_bytes()
    at = written.index(b"an interview") + 346  # where libsndfile has just written a 2
    assert written[at : at + 2] == struct.pack("<h", 2)
    older = written[:at] + struct.pack("<h", version) + written[at + 2 :]
    source.path.write_bytes(older)
    after, losses = copied(FileSource(source.path), tmp_path / "b.wav")
    assert losses == []
    assert after.broadcast is not None
    assert after.broadcast[:340] == broadcast()[:340]


def test_other_chunks_are_named(tmp_path: Path) -> None:
    source = tagged(tmp_path / "a.wav", Tags({}, None))
    source.path.write_bytes(source.path.read_bytes() + b"iXML\x04\0\0\0<a/>cue \x04\0\0\0\0\0\0\0")
    _, losses = copied(FileSource(source.path), tmp_path / "b.wav")
    assert losses == ["chunks left out: iXML, cue"]
