import numpy as np
import numpy.typing as npt
import pytest

from frcrn_export.exporters.training.augment import clip, limit_band, plain_noise, random_eq

Clips = list[npt.NDArray[np.float32]]


def spectrum_db(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return 20 * np.log10(np.abs(np.fft.rfft(audio)) + 1e-12)


def test_the_random_eq_stays_within_its_limit(noise: Clips) -> None:
    equalised = random_eq(np.random.default_rng(0), noise[0], 6.0)
    gain_db = spectrum_db(equalised) - spectrum_db(noise[0])
    assert gain_db.max() < 6.1
    assert gain_db.min() > -6.1
    assert np.ptp(gain_db) > 1.0


@pytest.mark.parametrize("highest_hz", [3400.0, 7000.0])
def test_narrow_band_keeps_what_is_below_and_nothing_above(noise: Clips, highest_hz: float) -> None:
    gain_db = spectrum_db(limit_band(noise[0], highest_hz)) - spectrum_db(noise[0])
    hz = np.fft.rfftfreq(len(noise[0]), 1 / 16000)
    assert np.abs(gain_db[hz < 0.94 * highest_hz]).max() < 0.1
    assert gain_db[hz > 1.06 * highest_hz].max() < -60


def test_clipping_cuts_off_a_share(noise: Clips) -> None:
    cut = clip(noise[0], 0.01)
    ceiling = np.abs(cut).max()
    assert np.mean(np.abs(noise[0]) > ceiling) == pytest.approx(0.01, abs=1e-3)
    below = np.abs(noise[0]) < ceiling
    assert np.array_equal(cut[below], noise[0][below])


@pytest.mark.parametrize("slope_db", [0.0, 3.0, 6.0])
def test_plain_noise_falls_by_its_slope(slope_db: float) -> None:
    audio = plain_noise(np.random.default_rng(0), 64000, slope_db)
    power = np.square(np.abs(np.fft.rfft(audio)))
    hz = np.fft.rfftfreq(64000, 1 / 16000)

    def octave_db(lowest: float) -> float:
        return float(10 * np.log10(power[(hz >= lowest) & (hz < 2 * lowest)].mean()))

    assert octave_db(1000) - octave_db(2000) == pytest.approx(slope_db, abs=0.3)
    assert np.sqrt(np.mean(np.square(audio))) == pytest.approx(0.05, rel=1e-3)
