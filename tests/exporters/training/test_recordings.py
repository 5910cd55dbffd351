from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.exporters.training.recordings import Recording, load_folder, source_of, split
from frcrn_export.runtime.errors import AudioError, UserError


def test_split_is_by_source_disjoint_and_repeatable() -> None:
    clips = [Recording(np.full(3, i, dtype=np.float32), f"speaker {i // 4}") for i in range(40)]
    train, held_out = split(clips, 0.2, seed=3)
    names = [int(clip[0]) for clip in train], [int(clip[0]) for clip in held_out]
    assert len(names[1]) == 8
    assert sorted(names[0] + names[1]) == list(range(40))
    assert not {i // 4 for i in names[0]} & {i // 4 for i in names[1]}
    again = split(clips, 0.2, seed=3)[1]
    assert [int(clip[0]) for clip in again] == names[1]
    assert [int(clip[0]) for clip in split(clips, 0.2, seed=4)[1]] != names[1]


@given(st.integers(2, 9), st.floats(0, 1), st.integers(0, 5))
def test_split_leaves_something_on_both_sides(sources: int, share: float, seed: int) -> None:
    clips = [Recording(np.zeros(3, dtype=np.float32), str(i)) for i in range(sources)]
    parts = split(clips, share, seed)
    assert all(parts)
    assert sum(map(len, parts)) == sources


def test_one_speaker_cannot_be_split() -> None:
    clips = [Recording(np.zeros(3, dtype=np.float32), "ann")] * 3
    with pytest.raises(UserError, match=r"all 3 files seem to be of one source \('ann'\).*folder"):
        split(clips, 0.1, seed=0)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("1034/121119/1034-121119-0049.flac", "1034"),
        ("p225_003.wav", "p225"),
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


def test_folders_and_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 0 audio files"):
        load_folder(tmp_path)
    for index in range(2):
        soundfile.write(tmp_path / f"{index}.wav", np.zeros(100), 16000)
    with pytest.raises(AudioError, match=r"0\.wav is empty, silent"):
        load_folder(tmp_path)
    (tmp_path / "0.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"cannot read .*0\.wav"):
        load_folder(tmp_path)
