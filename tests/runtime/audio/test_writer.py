from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.writer import FileWriter
from frcrn_export.runtime.errors import AudioError


def tone(frames: int, channels: int = 1) -> np.ndarray:
    phases = np.arange(frames)[:, None] * 0.05 * (1 + np.arange(channels))
    return (0.5 * np.sin(phases)).astype(np.float32)  # [n, C]


def read(source: FileSource) -> np.ndarray:
    return np.concatenate(list(source.blocks()), axis=1)


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


@pytest.mark.parametrize("name", ["x" * 251 + ".wav", "\u00e4" * 125 + ".wav"])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4), 16_000)
    with FileWriter(tmp_path / name, like=FileSource(tmp_path / "a.wav")) as writer:
        writer.write(tone(4).T)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.wav", name])
