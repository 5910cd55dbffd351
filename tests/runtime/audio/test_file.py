import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.errors import AudioError

FORMATS = [
    ("a.wav", "PCM_16"),
    ("a.wav", "PCM_24"),
    ("a.wav", "FLOAT"),
    ("a.flac", "PCM_16"),
    ("a.ogg", "VORBIS"),
    ("a.mp3", "MPEG_LAYER_III"),
]


def tone(frames: int, channels: int = 1) -> np.ndarray:
    phases = np.arange(frames)[:, None] * 0.05 * (1 + np.arange(channels))
    return (0.5 * np.sin(phases)).astype(np.float32)  # [n, C]


def read(source: FileSource) -> np.ndarray:
    return np.concatenate(list(source.blocks()), axis=1)


@pytest.mark.parametrize(("name", "subtype"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_are_read(tmp_path: Path, name: str, subtype: str, channels: int) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(70_000, channels), 44_100, subtype=subtype)
    source = FileSource(path)
    assert (source.channels, source.frames, source.sample_rate) == (channels, 70_000, 44_100)
    rms_error = {"VORBIS": 0.03, "MPEG_LAYER_III": 0.1}.get(subtype, 1e-4)
    samples = read(source)
    assert np.sqrt(np.mean((samples - tone(70_000, channels).T) ** 2)) < rms_error


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "zero length"),
        (b"these are not samples " * 40, "cannot be read as audio"),
        (b"RIFF\x10\x00\x00\x00WAVE", "cannot be read as audio"),
    ],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        FileSource(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        FileSource(tmp_path)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 1)), 16_000)
    with pytest.raises(AudioError, match="no samples"):
        FileSource(tmp_path / "a.wav")


def test_nan_samples_are_counted_and_placed(tmp_path: Path) -> None:
    samples = tone(1_000, 2)
    samples[400, 1] = np.nan
    samples[401] = np.inf
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"3 samples .* sample 400 of channel 1"):
        read(FileSource(tmp_path / "a.wav"))


def sized(path: Path, size: int, **options: object) -> Path:
    """A WAV of 100 frames whose header says another size."""
    soundfile.write(path, tone(100), 16_000, subtype="PCM_16", **options)
    content = bytearray(path.read_bytes())
    position = content.index(b"data") + 4
    content[position : position + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0, 0x7FFFFFDB, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("riff", [None, 0, 8])
def test_a_wav_from_a_pipe_is_whole(tmp_path: Path, size: int, riff: int | None) -> None:
    """Programs that write into a pipe leave a made-up size in the header."""
    path = sized(tmp_path / "a.wav", size)
    if riff is not None:
        content = bytearray(path.read_bytes())
        content[4:8] = riff.to_bytes(4, "little")
        path.write_bytes(content)
    source = FileSource(path)
    np.testing.assert_allclose(read(source), tone(100).T, atol=1e-4)
    assert source.losses == []


def test_a_wav_without_samples_but_with_chunks_behind_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((0, 1)), 16_000, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + b"LIST\x0c\0\0\0INFOICMT\0\0\0\0")
    with pytest.raises(AudioError, match="no samples"):
        FileSource(path)


@pytest.mark.parametrize(
    ("container", "marker", "at", "unknown"),
    [
        ("AIFF", b"SSND", 4, bytes(4)),
        ("AU", b".snd", 8, bytes(4)),
        ("AU", b".snd", 8, b"\xff" * 4),
        ("CAF", b"data", 4, b"\xff" * 8),
        ("CAF", b"data", 4, bytes(8)),
        ("W64", b"data\xf3", 16, bytes(8)),
        ("RF64", b"ds64", 16, bytes(8)),
    ],
)
def test_sizes_that_other_containers_do_not_know(
    tmp_path: Path, container: str, marker: bytes, at: int, unknown: bytes
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, tone(1_000), 16_000, "PCM_16", format=container)
    content = bytearray(path.read_bytes())
    position = content.index(marker) + at
    content[position : position + len(unknown)] = unknown
    path.write_bytes(content)
    source = FileSource(path)
    np.testing.assert_allclose(read(source), tone(1_000).T, atol=1e-4)
    assert source.losses == []


def test_a_flac_from_a_pipe_is_whole(tmp_path: Path) -> None:
    """Its header says 0 samples."""
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(70_001), 16_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    source = FileSource(path)
    np.testing.assert_allclose(read(source), tone(70_001).T, atol=1e-4)
    assert source.losses == []


@pytest.mark.parametrize("said", [0, 1_000, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_beyond_4_gib_is_read_whole(tmp_path: Path, said: int) -> None:
    """Such as other programs write it: the size does not fit its 32 bits."""
    path = sized(tmp_path / "a.wav", said)
    head = path.read_bytes()[:44]
    size = (1 << 32) + 1_000
    with path.open("wb") as file:  # sparse: it takes a few blocks of the disk
        file.write(head)
        file.seek(44 + size - 2)
        file.write(b"\0\x40")
    source = FileSource(path)
    assert (source.frames, source.format, source.losses) == (size // 2, "RF64", [])
    with source.open() as file:
        file.seek(size // 2 - 3)
        np.testing.assert_array_equal(file.read(3), [0, 0, 0.5])


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        *FORMATS,
        ("a.aiff", "PCM_16"),
        ("a.w64", "PCM_16"),
        ("a.au", "PCM_16"),
        ("a.caf", "PCM_16"),
        ("a.rf64", "PCM_24"),
        ("a.opus", "OPUS"),
        ("a.wav", "IMA_ADPCM"),
        ("a.svx", "PCM_16"),
        ("a.nist", "PCM_16"),
    ],
)
def test_a_truncated_recording_is_taken_and_said(
    tmp_path: Path, name: str, subtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    noise = 0.1 * np.random.default_rng(0).standard_normal(200_000)
    formats = {".opus": "OGG", ".rf64": "RF64", ".svx": "SVX", ".nist": "NIST"}
    soundfile.write(path, noise, 16_000, subtype=subtype, format=formats.get(path.suffix))
    whole = read(FileSource(path))
    assert caplog.messages == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = FileSource(path)
    part = read(source)
    assert 60_000 < source.frames == part.shape[1] < 130_000
    np.testing.assert_allclose(part[:, :60_000], whole[:, :60_000], atol=1e-3)
    (said,) = source.losses
    assert said.startswith(f"ends early, at {source.frames / 16_000:.2f} s")
    assert "of 12.5" in said or name in ("a.ogg", "a.opus")
    assert caplog.messages == [f"{path}: {said}"]


def test_a_stream_that_goes_on_behind_damage_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    noise = 0.1 * np.random.default_rng(0).standard_normal(300_000)
    soundfile.write(path, noise, 16_000)
    whole = read(FileSource(path))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3_000] = bytes(3_000)
    path.write_bytes(content)
    source = FileSource(path)
    damaged = read(source)
    assert damaged.shape == whole.shape
    np.testing.assert_allclose(damaged[:, :130_000], whole[:, :130_000], atol=1e-3)
    np.testing.assert_allclose(damaged[:, -100_000:], whole[:, -100_000:], atol=1e-3)
    (said,) = source.losses
    assert "cannot be decoded" in said
    assert "silence there" in said


@pytest.mark.parametrize("suffix", ["wav", "rf64"])
@pytest.mark.parametrize("frames", [1_000, 1_001])
@pytest.mark.parametrize("behind", [5_000, 100])
def test_of_two_recordings_end_to_end_the_first_is_taken(
    tmp_path: Path, suffix: str, frames: int, behind: int
) -> None:
    path, second = tmp_path / f"a.{suffix}", tmp_path / "b.wav"
    audio = tone(frames)
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16", format=suffix.upper()) as file:
        file.title = "first"
        file.write(audio)
    soundfile.write(second, tone(5_000), 8_000, "PCM_16")
    path.write_bytes(path.read_bytes() + second.read_bytes()[:behind])
    source = FileSource(path)
    assert source.sample_rate == 16_000
    np.testing.assert_allclose(read(source), audio.T, atol=1e-4)
    assert source.losses == [f"{behind} bytes behind it are another recording: left out"]
    assert source.other_chunks == []
    with source.open() as opened:
        assert opened.title == "first"


def wave_header(channels: int = 1, rate: int = 16_000, codec: int = 1) -> bytes:
    form = struct.pack("<IHHIIHH", 16, codec, channels, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", 236) + b"WAVEfmt " + form + b"data" + bytes([200, 0, 0, 0])


@pytest.mark.parametrize(
    "content",
    [
        np.random.default_rng(0).bytes(5_000),
        bytes(4_000),
        wave_header()[:12],
        wave_header()[:20],
        wave_header()[:30],
        wave_header(channels=0) + bytes(200),
        wave_header(rate=0) + bytes(200),
        wave_header(channels=0, codec=0x42) + bytes(200),
        b"<!DOCTYPE html>\n" * 40,
        b"fLaC" + bytes(50),
        b"ID3\3" + bytes(60),
    ],
)
@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac"])
def test_what_holds_no_audio_is_to_be_copied_again(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        FileSource(path)
    said = str(caught.value)
    assert said.endswith("copy or record it again")
    assert "ffmpeg" not in said
    assert "not exist" not in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.wav", wave_header(codec=0x42) + bytes(200)),
        ("a.mp3", b"\xff\xf1\x50\x80" + bytes(300)),  # AAC
        ("a.ogg", b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead\1\1" + bytes(9)),
        ("a.mkv", b"\x1aE\xdf\xa3" + bytes(100)),
    ],
)
def test_other_codecs_are_to_be_converted(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        FileSource(path)
    assert str(caught.value).endswith(f"convert it first: ffmpeg -i {path} audio.wav")


def test_what_it_is_stands_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "it's.wav"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(99))
    with pytest.raises(AudioError) as caught:
        FileSource(path)
    assert "cannot be read as audio (MP4: " in str(caught.value)
    assert str(caught.value).endswith(f"ffmpeg -i {shlex.quote(str(path))} audio.wav")


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 1 << 20])
def test_one_rule_for_all_commands(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """`denoise`, `train`, `calibrate`, `evaluate` and `stream` read the same samples."""
    from frcrn_export.calibration.clips import choose_clips
    from frcrn_export.exporters.training.data import load_clip
    from frcrn_export.runtime.audio.pairs import Pair, read_pair
    from frcrn_export.runtime.streaming.pipe import PipeReader

    path, frames = tmp_path / "a" / "a.wav", 32_000
    path.parent.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal(frames)
    soundfile.write(path, noise, 16_000, "PCM_16")
    content = bytearray(path.read_bytes())
    content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    expected = read(FileSource(path))[0]
    assert expected.shape == (frames,)
    np.testing.assert_array_equal(load_clip(path), expected)
    (clip,) = choose_clips([path.parent], 16_000).clips
    assert clip.seconds == 2
    pair = read_pair(Pair("a", path, path))
    np.testing.assert_array_equal(pair.noisy, expected)
    with path.open("rb") as file:
        reader, blocks = PipeReader(file, None), list[np.ndarray]()
        while (block := reader.read(5_000)) is not None:
            blocks.append(block)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1)[0], expected)
    assert reader.truncated == (size == 1 << 20)
    assert len(caplog.messages) == (size == 1 << 20)  # once, however often the file is read
