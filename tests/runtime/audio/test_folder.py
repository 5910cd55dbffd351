import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.folder import find_audio
from frcrn_export.runtime.files.jobs import plan_jobs
from tests.tones import write_tone


def names(folder: Path, **how: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_audio(folder, **how).files]


def test_everything_that_libsndfile_reads_is_taken(tmp_path: Path) -> None:
    for format, suffixes in {
        "AIFF": (".aiff", ".aifc", ".AIF"), "AU": (".au", ".snd"), "CAF": (".caf",),
        "FLAC": (".flac",), "MP3": (".mp3",), "NIST": (".sph",), "OGG": (".ogg", ".oga"),
        "RF64": (".rf64",), "VOC": (".voc",), "W64": (".w64",), "WAV": (".wav", ".WAV"),
    }.items():  # fmt: skip
        for suffix in suffixes:
            soundfile.write(tmp_path / f"{format}{suffix}", np.zeros(99), 16_000, format=format)
    assert len(names(tmp_path)) == 16
    for path in find_audio(tmp_path).files:
        assert soundfile.info(path).samplerate == 16_000


def test_what_is_left_out_is_said_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tone(tmp_path / "a.wav")
    write_tone(tmp_path / "sub" / "b.wav")
    for name in ("c.m4a", "d.M4A", "e.wma", "._a.wav", "notes.txt", "cover.png", "data.mat"):
        (tmp_path / name).write_bytes(b"something")
    write_tone(tmp_path / ".trash" / "f.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == ["a.wav", "sub/b.wav"]
    (line,) = caplog.messages
    for part in ("2 .m4a files", "1 .wma files", "1 hidden files", "1 hidden folders"):
        assert part in line
    assert "libsndfile does not read" in line
    assert "1 links or devices without a file" in line
    assert "txt" not in line


def test_linked_folders_are_followed_once_and_without_loops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "speech"
    write_tone(folder / "a" / "1.wav")
    write_tone(tmp_path / "elsewhere" / "2.wav")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (folder / "0_again").symlink_to(folder / "a")
    assert names(folder) == ["a/1.wav", "linked/2.wav"]
    assert "2 linked folders that are looked through already" in caplog.messages[0]


def test_the_folder_itself_within_a_linked_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tone(tmp_path / "speech" / "a.wav")
    (tmp_path / "speech" / "above").symlink_to("..")
    assert names(tmp_path / "speech") == ["a.wav"]
    assert caplog.messages == []


def test_links_to_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "linked.wav").symlink_to(write_tone(tmp_path / "elsewhere" / "a.wav"))
    assert names(tmp_path) == ["elsewhere/a.wav", "linked.wav"]


def test_links_that_lead_nowhere_end_no_walk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tone(tmp_path / "a.wav")
    (tmp_path / "circle.wav").symlink_to("circle.wav")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "self").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    assert names(tmp_path) == ["a.wav"]
    assert "2 links or devices without a file" in caplog.messages[0]
    assert "1 linked folders that are looked through already" in caplog.messages[0]


def test_a_folder_that_cannot_be_read_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.wav", "closed/b.wav", "open/c.wav"):
        write_tone(tmp_path / name)
    scandir = os.scandir

    def refuse(path: Path) -> object:  # root reads everything
        if path.name == "closed":
            raise PermissionError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["a.wav", "open/c.wav"]
    assert caplog.messages == [f"{tmp_path}: left out 1 folders that cannot be read"]


def test_one_rule_for_all_commands(tmp_path: Path) -> None:
    """`denoise`, `train`, `calibrate` and `evaluate` take the same files of a folder."""
    from frcrn_export.calibration.clips import choose_clips
    from frcrn_export.exporters.training import data
    from frcrn_export.runtime.audio.pairs import match_folders

    folder, rng = tmp_path / "audio", np.random.default_rng(0)
    latin = os.fsdecode(b"caf\xe9.WAV")
    for name in ("1.w64", "sub/2.au", "3.caf", latin, ".hidden/4.wav", "._1.wav"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(os.fsencode(path), 0.1 * rng.standard_normal(32_000), 16_000)
    (folder / "circle").symlink_to("circle")
    outside = write_tone(tmp_path / "outside" / "5.wav", 32_000)
    (folder / "linked").symlink_to(outside.parent)
    taken = {"1.w64", "sub/2.au", "3.caf", latin, "linked/5.wav"}

    def relative(paths: Iterable[Path]) -> set[str]:
        return {path.relative_to(folder).as_posix() for path in paths}

    assert relative(job.source for job in plan_jobs([folder], tmp_path / "out").jobs) == taken
    assert relative(clip.path for clip in choose_clips([folder], 16_000).clips) == taken
    assert relative(pair.noisy for pair in match_folders(folder, folder)) == taken
    assert len(data.load_folder(folder)) == len(taken)
