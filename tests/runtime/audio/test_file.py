from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.file import FileSource, FileWriter
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
def test_formats_are_read_and_written_alike(
    tmp_path: Path, name: str, subtype: str, channels: int
) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(70_000, channels), 44_100, subtype=subtype)
    source = FileSource(path)
    assert (source.channels, source.frames, source.sample_rate) == (channels, 70_000, 44_100)
    rms_error = {"VORBIS": 0.03, "MPEG_LAYER_III": 0.1}.get(subtype, 1e-4)
    samples = read(source)
    assert np.sqrt(np.mean((samples - tone(70_000, channels).T) ** 2)) < rms_error

    copy = tmp_path / "out" / name
    with FileWriter(copy, like=source) as writer:
        for block in source.blocks():
            writer.write(block)
    written = FileSource(copy)
    assert (written.subtype, written.format) == (subtype, source.format)
    assert (written.channels, written.sample_rate) == (channels, 44_100)
    assert np.sqrt(np.mean((read(written) - samples) ** 2)) < rms_error
    assert [file.name for file in copy.parent.iterdir()] == [name]


def test_another_suffix_gets_a_subtype_it_has(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(100), 16_000, subtype="FLOAT")
    source = FileSource(tmp_path / "a.wav")
    for name, subtype in (("b.flac", "PCM_16"), ("b.ogg", "VORBIS"), ("b.aif", "FLOAT")):
        with FileWriter(tmp_path / name, like=source) as writer:
            writer.write(tone(100).T)
        assert FileSource(tmp_path / name).subtype == subtype
    with pytest.raises(AudioError, match=r"'\.xyz' is no audio format"):
        FileWriter(tmp_path / "b.xyz", like=source)


def test_beyond_full_scale_is_clipped_not_wrapped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4), 16_000, subtype="PCM_16")
    with FileWriter(tmp_path / "b.wav", like=FileSource(tmp_path / "a.wav")) as writer:
        writer.write(np.array([[2.0, -2.0, 0.5]], np.float32))
    samples = read(FileSource(tmp_path / "b.wav"))
    np.testing.assert_allclose(samples, [[1.0, -1.0, 0.5]], atol=1e-4)


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4), 16_000)
    source = FileSource(tmp_path / "a.wav")
    out = tmp_path / "out"

    def write_and_fail() -> None:
        with FileWriter(out / "b.wav", like=source) as writer:
            writer.write(tone(4).T)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert list(out.iterdir()) == []


def test_an_existing_file_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4), 16_000)
    (tmp_path / "b.wav").write_bytes(b"old")
    with FileWriter(tmp_path / "b.wav", like=FileSource(tmp_path / "a.wav")) as writer:
        writer.write(tone(4).T)
        assert (tmp_path / "b.wav").read_bytes() == b"old"
    assert FileSource(tmp_path / "b.wav").frames == 4


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4), 16_000)
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(AudioError, match="cannot be written"),
        FileWriter(tmp_path / "file" / "b.wav", like=FileSource(tmp_path / "a.wav")) as writer,
    ):
        writer.write(tone(4).T)


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


@pytest.mark.parametrize(
    ("name", "subtype"), [*FORMATS, ("a.aiff", "PCM_16"), ("a.w64", "PCM_16"), ("a.au", "PCM_16")]
)
def test_truncated_files_are_refused(tmp_path: Path, name: str, subtype: str) -> None:
    path = tmp_path / name
    noise = 0.1 * np.random.default_rng(0).standard_normal(40_000)
    soundfile.write(path, noise, 16_000, subtype=subtype)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="truncated or damaged"):
        read(FileSource(path))


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_not_truncated(tmp_path: Path, size: int) -> None:
    """Programs that write into a pipe leave a made-up size in the header."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(100), 16_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    position = content.index(b"data") + 4
    content[position : position + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    if size == 0:
        with pytest.raises(AudioError, match="no samples"):
            FileSource(path)
    else:
        assert read(FileSource(path)).shape == (1, 100)


def test_nan_samples_are_counted_and_placed(tmp_path: Path) -> None:
    samples = tone(1_000, 2)
    samples[400, 1] = np.nan
    samples[401] = np.inf
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"3 samples .* sample 400 of channel 1"):
        read(FileSource(tmp_path / "a.wav"))
