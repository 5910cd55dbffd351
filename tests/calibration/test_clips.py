from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.calibration.clips import (
    FEWEST_CLIPS,
    Clip,
    audio_sha256,
    choose_clips,
    read_clip,
)
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import AudioError, UserError

RATE = 16_000


def bursts(
    seed: int, loud: float = 0.1, quiet: float = 0.001, seconds: float = 1.5
) -> Float32Array:
    """Noise that is loud and quiet in turns of 0.1 s."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    turns = np.arange(len(noise)) // 1600 % 2
    return (noise * np.where(turns, quiet, loud)).astype(np.float32)


def write(path: Path, samples: Float32Array, rate: int = RATE, subtype: str = "PCM_24") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, rate, subtype=subtype)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 alike, and four that are not: louder, quieter, noisy, both."""
    root = tmp_path_factory.mktemp("calibration")
    for index in range(28):
        write(root / f"deep/{index % 5}/{index}.flac", bursts(index))
    write(root / "loud.wav", bursts(100, 0.5, 0.005))
    write(root / "faint.wav", bursts(101, 0.01, 0.0001))
    write(root / "noisy.wav", bursts(102, 0.1, 0.05))
    write(root / "loud and noisy.wav", bursts(103, 0.5, 0.25))
    return root


def names(clips: tuple[Clip, ...]) -> list[str]:
    return [clip.path.name for clip in clips]


def test_every_kind_of_clip_is_chosen_before_a_second_one(folder: Path) -> None:
    odd = {"loud.wav", "faint.wav", "noisy.wav", "loud and noisy.wav"}
    for seed in range(5):
        chosen = names(choose_clips([folder], RATE, count=5, seed=seed).clips)
        assert odd < set(chosen)


def test_a_first_part_of_a_choice_is_the_smaller_choice(folder: Path) -> None:
    many = choose_clips([folder], RATE, count=20, seed=3).clips
    assert many[:7] == choose_clips([folder], RATE, count=7, seed=3).clips


def test_the_seed_decides_and_the_names_do_not(folder: Path, tmp_path: Path) -> None:
    chosen = choose_clips([folder], RATE, count=10, seed=1)
    assert choose_clips([folder], RATE, count=10, seed=1) == chosen
    assert choose_clips([folder], RATE, count=10, seed=2).sha256 != chosen.sha256
    clips = choose_clips([folder], RATE).clips
    for index, clip in enumerate(reversed(clips)):  # other names, places, format
        write(tmp_path / f"{index}/{index}.wav", read_clip(clip, RATE))
    renamed = choose_clips([tmp_path], RATE, count=10, seed=1)
    assert renamed.sha256 == chosen.sha256
    assert [c.sha256 for c in renamed.clips] == [c.sha256 for c in chosen.clips]


def test_no_more_are_chosen_than_there_are_and_none_twice(folder: Path, tmp_path: Path) -> None:
    every = choose_clips([folder], RATE)
    assert len(set(names(every.clips))) == len(every.clips) == 32
    assert every.warnings == ()
    write(tmp_path / "copy.flac", bursts(3))
    assert len(choose_clips([folder, tmp_path, folder], RATE).clips) == 32


def test_what_is_measured_of_a_clip(tmp_path: Path) -> None:
    write(tmp_path / "clip.wav", bursts(1, 0.1, 0.001, seconds=2.0), subtype="FLOAT")
    (clip,) = choose_clips([tmp_path], RATE).clips
    assert clip.seconds == 2.0
    # Of 0.1 rms, the part above the mean power: normal deviates beyond 0.707 of that rms.
    assert clip.level_db == pytest.approx(-17.5, abs=1.0)
    assert clip.snr_db == pytest.approx(40.0, abs=2.0)


def test_other_rates_and_channels_are_read_as_the_network_hears_them(tmp_path: Path) -> None:
    left, right = bursts(1, seconds=3.0), bursts(2, seconds=3.0)
    write(tmp_path / "stereo.wav", np.stack([left, right]), subtype="FLOAT")
    (clip,) = choose_clips([tmp_path], RATE).clips
    assert np.array_equal(read_clip(clip, RATE), left)
    assert clip.sha256 == audio_sha256(left)
    (halved,) = choose_clips([tmp_path], RATE // 2).clips
    assert halved.seconds == 3.0
    assert len(read_clip(halved, RATE // 2)) == 3 * RATE // 2


def test_clips_that_are_of_no_use_are_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "silent.wav", np.zeros(2 * RATE, np.float32))
    write(tmp_path / "hum.wav", np.full(2 * RATE, 1e-5, np.float32))
    write(tmp_path / "short.wav", bursts(1, seconds=0.5))
    write(tmp_path / "nan.wav", np.full(2 * RATE, np.nan, np.float32), subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "empty.flac").touch()
    write(tmp_path / ".hidden.wav", bursts(7))
    write(tmp_path / ".trash/bad.wav", np.zeros(RATE, np.float32))
    (tmp_path / "notes.txt").write_text("not looked at")
    chosen = choose_clips([tmp_path, folder], RATE)
    assert len(chosen.clips) == 32
    assert set(chosen.warnings) == {
        f"left out, silent: {tmp_path / 'hum.wav'}, {tmp_path / 'silent.wav'}",
        f"left out, shorter than 1 s: {tmp_path / 'short.wav'}",
        "left out, cannot be read: "
        + ", ".join(str(tmp_path / name) for name in ("empty.flac", "nan.wav", "text.wav")),
    }
    with pytest.raises(UserError, match=r"no usable audio.*silent: .*--calib FOLDER"):
        choose_clips([tmp_path], RATE)


def test_too_few_clips_are_said_with_the_number_needed(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"{index}.wav", bursts(index))
    (warning,) = choose_clips([tmp_path], RATE).warnings
    assert "3 calibration clips" in warning
    assert str(FEWEST_CLIPS) in warning


def test_clips_that_quality_is_judged_by_are_refused(folder: Path, tmp_path: Path) -> None:
    judged = {audio_sha256(read_clip(clip, RATE)): clip.path.name for clip in _of(folder, 5)}
    refused = {key: Path("evaluation") / name for key, name in judged.items()}
    with pytest.raises(UserError, match=r"and 2 more; remove them.*--calib FOLDER") as raised:
        choose_clips([folder], RATE, refused=refused)
    assert raised.value.exit_code == 2
    first = str(raised.value).split(": ", 1)[1].split(" is ")
    assert Path(first[0]).is_file()
    assert first[1].startswith("evaluation/")
    # In another container it is the same recording.
    write(tmp_path / "other.wav", read_clip(_of(folder, 1)[0], RATE))
    with pytest.raises(UserError, match=r"other\.wav is evaluation"):
        choose_clips([tmp_path], RATE, refused=refused)


def _of(folder: Path, count: int) -> tuple[Clip, ...]:
    return choose_clips([folder], RATE, count=count).clips


def test_folders_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        choose_clips([tmp_path / "missing"], RATE)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="no audio in this folder"):
        choose_clips([tmp_path], RATE)
    with pytest.raises(UserError, match="is a file"):
        choose_clips([tmp_path / "notes.txt"], RATE)
    with pytest.raises(UserError, match="give at least 1"):
        choose_clips([tmp_path], RATE, count=0)


def test_a_clip_that_changed_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.wav", bursts(1))
    (clip,) = choose_clips([tmp_path], RATE).clips
    write(path, bursts(2))
    with pytest.raises(AudioError, match="changed"):
        read_clip(clip, RATE)
