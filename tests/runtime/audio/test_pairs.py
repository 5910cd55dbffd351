import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.pairs import (
    Pair,
    check_pair,
    find_pairs,
    match_folders,
    read_pair,
)
from frcrn_export.runtime.errors import AudioError, UserError
from tests.pairs import RATE, Signal, write_pair

names = st.sets(st.from_regex(r"[a-z0-9_]{1,6}(\.[a-z]{1,3})?(/[a-z]{1,3})?", fullmatch=True))
suffixes = st.sampled_from([".wav", ".flac", ".OGG", ".mp3", ".w64"])


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@settings(max_examples=25)
@given(names, suffixes, suffixes)
def test_files_that_belong_together_are_found(
    names: set[str], noisy_suffix: str, clean_suffix: str
) -> None:
    if not names:
        return
    with tempfile.TemporaryDirectory() as made:
        one, two, three = (Path(made) / name for name in "abc")
        for name in names:
            touch(one / f"{name}.noisy{noisy_suffix}")
            touch(one / f"{name}.clean{clean_suffix}")
            touch(one / f"{name}.txt")
            touch(one / f"{name}.png")
            touch(two / f"{name}{noisy_suffix}")
            touch(three / f"{name}{clean_suffix}")
        for pairs in (find_pairs(one), match_folders(two, three)):
            assert [pair.name for pair in pairs] == sorted(names)
        assert find_pairs(one)[0].clean.name.endswith(f".clean{clean_suffix}")


@settings(max_examples=25)
@given(names, st.booleans(), st.data())
def test_a_missing_partner_is_named(names: set[str], noisy: bool, data: st.DataObject) -> None:
    if not names:
        return
    lonely = data.draw(st.sampled_from(sorted(names)))
    with tempfile.TemporaryDirectory() as made:
        one, two = Path(made) / "one", Path(made) / "two"
        for name in names:
            for kind in ("noisy", "clean"):
                if name != lonely or (kind == "noisy") == noisy:
                    touch(one / f"{name}.{kind}.wav")
                    touch(two / kind / f"{name}.wav")
        lacks = f"{lonely}.{'clean' if noisy else 'noisy'}.wav"
        with pytest.raises(UserError, match=r"has no \w+ \w+; add ") as raised:
            find_pairs(one)
        assert lacks in str(raised.value)
        (two / "noisy").mkdir(exist_ok=True)
        (two / "clean").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="no file of that name in|no audio") as raised:
            match_folders(two / "noisy", two / "clean")


def test_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_pairs(tmp_path / "gone")
    touch(tmp_path / "speech.wav")
    with pytest.raises(UserError, match=r"speech\.wav: is a file; give a folder"):
        find_pairs(tmp_path / "speech.wav")
    with pytest.raises(UserError, match=r"no pairs .*--noisy FOLDER --clean FOLDER"):
        find_pairs(tmp_path)
    touch(tmp_path / "empty" / "notes.txt")
    with pytest.raises(UserError, match="empty: no audio"):
        match_folders(tmp_path, tmp_path / "empty")


def test_hidden_files_are_left(pairs_folder: Path) -> None:
    touch(pairs_folder / "._mix_one.noisy.wav")
    assert [pair.name for pair in find_pairs(pairs_folder)] == ["mix_one", "mix_two", "vbd_one"]


def test_a_name_with_two_files(tmp_path: Path) -> None:
    for suffix in ("noisy.wav", "clean.wav", "noisy.flac"):
        touch(tmp_path / f"a.{suffix}")
    with pytest.raises(UserError, match=r"a\.noisy\.wav: a\.noisy\.flac has the same name"):
        find_pairs(tmp_path)
    with pytest.raises(UserError, match="has the same name"):
        match_folders(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("mix_a_b", "mix"),
        ("plain", ""),
        ("_x", ""),
        ("a/vbd_1", "a/vbd"),
        ("all_1", "all_"),
        ("other_1", "other_"),
    ],
)
def test_groups(name: str, group: str) -> None:
    assert Pair(name, Path(), Path()).group == group


def test_names_are_matched_however_they_are_written(tmp_path: Path) -> None:
    """Of "é" there are two spellings, and of kinds there are capital ones."""
    for folder, name in (("one", "caf\u00e9.Noisy.WAV"), ("one", "cafe\u0301.CLEAN.wav")):
        touch(tmp_path / folder / name)
    assert [pair.name for pair in find_pairs(tmp_path / "one")] == ["caf\u00e9"]
    touch(tmp_path / "two" / "caf\u00e9.wav")
    touch(tmp_path / "three" / "cafe\u0301.wav")
    (pair,) = match_folders(tmp_path / "two", tmp_path / "three")
    assert pair.clean.is_file()


def test_reading(pairs_folder: Path, noisy: Signal, clean: Signal) -> None:
    clip = read_pair(find_pairs(pairs_folder)[0], RATE)
    np.testing.assert_array_equal(clip.noisy, noisy)
    np.testing.assert_array_equal(clip.clean, clean)


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)).astype(np.float32)
    write_pair(tmp_path, "a", tone, 0.5 * tone, rate=44_100)
    clip = read_pair(find_pairs(tmp_path)[0], RATE)
    assert clip.noisy.shape == clip.clean.shape == (RATE,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert np.abs(clip.noisy - expected)[200:-200].max() < 1e-3


def replace_clean(folder: Path, samples: Signal, rate: int = RATE) -> Pair:
    pair = find_pairs(folder)[0]
    soundfile.write(pair.clean, samples, rate)
    return pair


def test_files_that_are_no_pair(pairs_folder: Path, clean: Signal) -> None:
    pair = replace_clean(pairs_folder, clean[:-5])
    with pytest.raises(AudioError, match="mix_one: noisy has 32000 samples, clean 31995"):
        check_pair(pair)
    pair = replace_clean(pairs_folder, clean, rate=8_000)
    with pytest.raises(AudioError, match="noisy at 16000 Hz, clean at 8000 Hz; .* -ar 16000"):
        check_pair(pair)
    pair = replace_clean(pairs_folder, np.stack([clean, clean], axis=1))
    with pytest.raises(AudioError, match="2 channels, quality is measured on one; .* -ac 1"):
        check_pair(pair)
    spaced = Pair("a", pair.noisy, pair.clean.rename(pairs_folder / "a b.wav"))
    with pytest.raises(AudioError, match=r"ffmpeg -i '\S+/a b\.wav' -ac 1"):
        check_pair(spaced)
    pair.clean.write_text("not audio")
    with pytest.raises(AudioError, match="cannot be read as audio"):
        check_pair(pair)


def test_content_that_is_no_pair(pairs_folder: Path, clean: Signal) -> None:
    pair = replace_clean(pairs_folder, np.zeros_like(clean))
    with pytest.raises(AudioError, match=r"clean\.wav: silent, so nothing can be measured"):
        check_pair(pair)
    silent = Pair("a", noisy=pair.clean, clean=pair.noisy)
    with pytest.raises(AudioError, match=r"clean\.wav: silent, so there is nothing to denoise"):
        check_pair(silent)
    broken = clean.copy()
    broken[77] = np.nan
    soundfile.write(pair.clean, broken, RATE, subtype="FLOAT")
    for read in (check_pair, read_pair):
        with pytest.raises(AudioError, match="NaN or infinite"):
            read(pair)


def test_a_truncated_file(pairs_folder: Path) -> None:
    pair = find_pairs(pairs_folder)[0]
    shutil.copy(pair.clean, pair.noisy)
    pair.clean.write_bytes(pair.clean.read_bytes()[:-1000])
    with pytest.raises(AudioError, match=r"noisy has \d+ samples, clean \d+"):
        check_pair(pair)
