from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.exporters.training.data import (
    Recording,
    choose_held_out,
    load_folder,
    source_of,
    split,
)
from frcrn_export.runtime.errors import AudioError, UserError


def test_split_is_by_source_disjoint_and_repeatable() -> None:
    clips = [Recording(np.full(3, i, dtype=np.float32), f"speaker {i // 4}") for i in range(40)]
    chosen = choose_held_out(clips, 0.2, seed=3)
    train, held_out = split(clips, chosen)
    names = [int(clip[0]) for clip in train], [int(clip[0]) for clip in held_out]
    assert len(names[1]) == 8
    assert sorted(names[0] + names[1]) == list(range(40))
    assert not {i // 4 for i in names[0]} & {i // 4 for i in names[1]}
    assert choose_held_out(clips[::-1], 0.2, seed=3) == chosen == ["speaker 6", "speaker 9"]
    assert choose_held_out(clips, 0.2, seed=4) != chosen


@given(st.integers(2, 9), st.floats(0, 1), st.integers(0, 5))
def test_split_leaves_something_on_both_sides(sources: int, share: float, seed: int) -> None:
    clips = [Recording(np.zeros(3, dtype=np.float32), str(i)) for i in range(sources)]
    parts = split(clips, choose_held_out(clips, share, seed))
    assert all(parts)
    assert sum(map(len, parts)) == sources


def test_one_speaker_cannot_be_split() -> None:
    clips = [Recording(np.zeros(3, dtype=np.float32), "ann")] * 3
    with pytest.raises(UserError, match=r"all 3 files seem to be of one source \('ann'\).*folder"):
        choose_held_out(clips, 0.1, seed=0)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("1034/121119/1034-121119-0049.flac", "1034"),
        ("train-clean-100/1034/121119/1034-121119-0049.flac", "1034"),
        ("p225/p225_003_mic1.flac", "p225"),
        ("wav48/p225/p225_003_mic1.flac", "p225"),
        ("p225_003_mic1.flac", "p225"),
        ("p232_005.wav", "p232"),
        ("TRAIN/DR1/FCJF0/SA1.WAV", "TRAIN/DR1/FCJF0"),
        ("zh_fleurs-zh-1883-clip5.flac", "zh_fleurs-zh-1883-clip5"),
        ("LJ001-0006.flac", "LJ001"),
        ("rain.flac", "rain"),
        ("rain2.flac", "rain2"),
        ("17.wav", "17"),
    ],
)
def test_source_of_a_file(path: str, source: str) -> None:
    assert source_of(Path(path)) == source


def test_folder_is_read_deep_and_resampled(folders: tuple[Path, Path]) -> None:
    clips = load_folder(folders[0])
    assert [clip.source for clip in clips] == ["0", "1", "2", "more"]
    assert [len(clip) for clip in clips] == [24000] * 3 + [round(24000 * 16000 / 22050)]
    assert all(clip.audio.dtype == np.float32 and clip.audio.ndim == 1 for clip in clips)


def test_all_formats_are_read_and_hidden_files_are_not(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    for name in ("a.wav", "b.aiff", "c.ogg", "d.w64", "._a.wav", ".hidden/e.wav"):
        soundfile.write(tmp_path / name, np.full(2000, 0.1), 16000, format=_format(name))
    assert [clip.source for clip in load_folder(tmp_path)] == ["a", "b", "c", "d"]


def _format(name: str) -> str:
    return Path(name).suffix[1:].upper()


def test_folders_and_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 0 audio files"):
        load_folder(tmp_path)
    first = tmp_path / "0.wav"
    soundfile.write(tmp_path / "1.wav", np.full(100, 0.1), 16000)
    bad = {
        "0.wav: silent": np.zeros(100),
        "0.wav: no samples": np.zeros(0),
        "0.wav: 1 samples are NaN or infinite": np.r_[np.nan, np.ones(99)],
    }
    for message, samples in bad.items():
        soundfile.write(first, samples, 16000, "FLOAT")
        with pytest.raises(AudioError, match=message):
            load_folder(tmp_path)
    soundfile.write(first, np.full(1000, 0.1), 16000)
    first.write_bytes(first.read_bytes()[:-500])
    with pytest.raises(AudioError, match="0.wav: truncated"):
        load_folder(tmp_path)
    first.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"0\.wav: cannot be read"):
        load_folder(tmp_path)
