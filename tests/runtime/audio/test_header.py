import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.header import Corrected, known_size, read_header
from frcrn_export.runtime.streaming.pcm import PcmSpec, wav_header

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.mark.parametrize(
    ("size", "known"),
    [
        (0, False), (1, True), (0x7FFEFFFF, True), (0x7FFFFFDB, False), (0x80000000, False),
        (0x80000001, True), (0xFFFEFFFF, True), (0xFFFFFFFF, False),
    ],
)  # fmt: skip
def test_sizes_that_nobody_could_know(size: int, known: bool) -> None:
    assert known_size(size) == (size if known else None)


@pytest.mark.parametrize("container", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "SVX", "NIST"])
def test_whole_files_are_whole(tmp_path: Path, container: str) -> None:
    path = tmp_path / "a"
    soundfile.write(path, np.zeros(1_001), 16_000, "PCM_16", format=container)
    header = read_header(path)
    assert header is not None
    assert header.share == 1
    assert header.corrected() is None
    assert header.present - (8 if container == "AIFF" else 4 if container == "CAF" else 0) == 2_002


@in_one_folder
@given(
    chunks=st.lists(
        st.tuples(st.sampled_from([b"LIST", b"JUNK", b"iXML"]), st.binary(max_size=40)), max_size=4
    ),
    behind=st.booleans(),
    frames=st.integers(1, 300),
    stated=st.sampled_from([None, 0, 0x7FFFFFFF, 0xFFFFFFFF]),
)
def test_samples_are_found_between_any_chunks(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]], behind: bool, frames: int, stated: int | None
) -> None:
    """With a size that is right, chunks may follow; with one that nobody knew, samples alone."""
    path, spec = tmp_path / "a.wav", PcmSpec("s16le", 16_000, 1)
    plain = wav_header(spec, 2 * frames)
    others = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in chunks
    )
    samples = np.arange(-1, frames - 1, dtype="<i2").tobytes()
    size = plain[-4:] if stated is None else struct.pack("<I", stated)
    tail = others if behind and stated is None else b""
    path.write_bytes(plain[:36] + others + b"data" + size + samples + tail)
    header = read_header(path)
    assert header is not None
    assert (header.present, header.share) == (2 * frames, 1)
    with soundfile.SoundFile(header.corrected() or os.fsencode(path)) as file:
        read = file.read(frames + 10, dtype="int16")
    np.testing.assert_array_equal(read, np.arange(-1, frames - 1))


@in_one_folder
@given(st.binary(max_size=300), st.sampled_from([b"RIFF", b"RF64", b"FORM", b"caff", b"NIST_1A"]))
def test_no_header_does_harm(tmp_path: Path, data: bytes, magic: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(magic + data)
    header = read_header(path)
    if header is not None:
        assert 0 <= header.present <= len(data)
        corrected = header.corrected()
        if corrected is not None:
            assert len(corrected.read()) < 1_000


@in_one_folder
@given(st.binary(max_size=60), st.binary(min_size=20, max_size=60), st.integers(0, 20), st.data())
def test_a_corrected_file_reads_as_one(
    tmp_path: Path, head: bytes, content: bytes, offset: int, data: st.DataObject
) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    whole = head + content[offset:]
    with Corrected(path, head, offset) as file:
        assert file.seek(0, os.SEEK_END) == len(whole)
        for _ in range(4):
            at = data.draw(st.integers(0, len(whole)))
            count = data.draw(st.integers(0, 40))
            assert file.seek(at) == at
            assert file.read(count) == whole[at : at + count]
            assert file.tell() == min(at + count, max(at, len(whole)))
