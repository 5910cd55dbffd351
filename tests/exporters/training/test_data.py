from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.exporters.training.data import (
    MixRecipe,
    Recording,
    choose_held_out,
    crop,
    crop_at_speed,
    draw_batch,
    load_folder,
    mix,
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
    assert [len(recording) for recording in load_folder(tmp_path)] == [750, 100]
    first.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"0\.wav: cannot be read"):
        load_folder(tmp_path)


Clips = list[npt.NDArray[np.float32]]


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 17.5])
def test_mix_has_the_snr_asked_for(speech: Clips, noise: Clips, snr_db: float) -> None:
    noisy = mix(speech[0], noise[0], snr_db)
    added = noisy.astype(np.float64) - speech[0]
    ratio = np.sum(speech[0].astype(np.float64) ** 2) / np.sum(added**2)
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)
    assert noisy.dtype == np.float32


def test_mix_with_silence_adds(speech: Clips) -> None:
    silence = np.zeros_like(speech[0])
    assert np.array_equal(mix(speech[0], silence, 5.0), speech[0])
    assert np.array_equal(mix(silence, speech[0], 5.0), speech[0])


def test_crop_joins_short_clips_and_stays_inside_long_ones() -> None:
    rng = np.random.default_rng(0)
    ramp = np.arange(1000, dtype=np.float32)
    for _ in range(50):
        piece = crop(rng, [ramp], 300)
        assert len(piece) == 300
        assert np.array_equal(np.diff(piece), np.ones(299, dtype=np.float32))
    joined = crop(rng, [ramp[:100]], 250)
    assert len(joined) == 250
    assert np.array_equal(joined[:100], ramp[:100])


def test_speed_moves_the_pitch() -> None:
    rng = np.random.default_rng(0)
    sine = np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000).astype(np.float32)
    played = crop_at_speed(rng, [sine], 16000, (1.1, 1.1))
    assert len(played) == 16000
    assert np.argmax(np.abs(np.fft.rfft(played))) == pytest.approx(1100, abs=2)


def test_batch_is_repeatable_levelled_and_of_the_asked_snr(speech: Clips, noise: Clips) -> None:
    recipe = replace(
        MixRecipe(seconds=0.5, snr_db=(3.0, 3.0), lowest_peak_db=-25.0),
        noise_only_share=0.0,
        nearly_clean_share=0.0,
        narrow_share=0.0,
        clipping_share=0.0,
    )
    noisy, clean = draw_batch((1, 2, 3), speech, noise, recipe, 32)
    assert noisy.shape == clean.shape == (32, 1, 8000)
    assert noisy.dtype == clean.dtype == np.float32
    peaks_db = 20 * np.log10(np.abs(noisy).max((1, 2)))
    assert -25.01 < peaks_db.min() < -15.0 < -10.0 < peaks_db.max() < 0.01
    speaking = np.abs(clean).max((1, 2)) > 0
    power = np.square(clean, dtype=np.float64).sum((1, 2))
    error = np.square(noisy.astype(np.float64) - clean).sum((1, 2))
    assert 10 * np.log10(power / error)[speaking] == pytest.approx(3.0, abs=0.05)
    assert np.array_equal(draw_batch((1, 2, 3), speech, noise, recipe, 32)[0], noisy)
    assert not np.array_equal(draw_batch((1, 2, 4), speech, noise, recipe, 32)[0], noisy)


def test_noise_only_has_a_silent_target(speech: Clips, noise: Clips) -> None:
    recipe = MixRecipe(seconds=0.25, noise_only_share=1.0)
    noisy, clean = draw_batch((0,), speech, noise, recipe, 4)
    assert not clean.any()
    assert noisy.any()


def test_shares_are_how_often_something_happens(speech: Clips, noise: Clips) -> None:
    """Each share at 1 changes a batch in its own way, and only the target where it should."""
    never = replace(
        MixRecipe(seconds=0.25, snr_db=(0.0, 0.0), lowest_peak_db=0.0),
        room_share=0.0,
        second_noise_share=0.0,
        plain_noise_share=0.0,
        noise_only_share=0.0,
        nearly_clean_share=0.0,
        narrow_share=0.0,
        clipping_share=0.0,
    )

    def batch(**shares: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return draw_batch((7,), speech, noise, replace(never, **shares), 4)  # type: ignore[arg-type]

    noisy, clean = batch()
    nearly, nearly_target = batch(nearly_clean_share=1.0)
    added, added_nearly = np.abs(noisy - clean), np.abs(nearly - nearly_target)
    assert np.median(added_nearly.max((1, 2))) < 0.2 * np.median(added.max((1, 2)))
    cut, target = batch(clipping_share=1.0)
    assert (np.abs(cut) > 0.999).sum() > (np.abs(noisy) > 0.999).sum()
    assert (np.abs(target) > 0.999).sum() <= (np.abs(cut) > 0.999).sum()
    for name in ("room_share", "second_noise_share", "plain_noise_share", "narrow_share"):
        assert not np.array_equal(batch(**{name: 1.0})[0], noisy), name
