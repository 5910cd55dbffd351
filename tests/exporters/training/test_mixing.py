from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frcrn_export.exporters.training.data import (
    MixRecipe,
    crop,
    crop_at_speed,
    draw_batch,
    mix,
)

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
        overload_share=0.0,
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
        overload_share=0.0,
    )

    def batch(**shares: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return draw_batch((7,), speech, noise, replace(never, **shares), 4)  # type: ignore[arg-type]

    noisy, clean = batch()
    nearly, nearly_target = batch(nearly_clean_share=1.0)
    added, added_nearly = np.abs(noisy - clean), np.abs(nearly - nearly_target)
    assert np.median(added_nearly.max((1, 2))) < 0.2 * np.median(added.max((1, 2)))
    cut, target = batch(overload_share=1.0)
    assert (np.abs(cut) > 0.999).sum() > (np.abs(noisy) > 0.999).sum()
    assert (np.abs(target) > 0.999).sum() <= (np.abs(cut) > 0.999).sum()
    for name in ("room_share", "second_noise_share", "plain_noise_share", "narrow_share"):
        assert not np.array_equal(batch(**{name: 1.0})[0], noisy), name
