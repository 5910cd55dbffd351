import numpy as np
import pytest

from frcrn_export.exporters.hard_sound import ABRUPT, LEVELS, allowance_db, hard_waves


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_sound_of_each_kind(rate: int) -> None:
    waves = hard_waves(rate)
    assert set(waves) == {*LEVELS, *ABRUPT}
    assert all(wave.dtype == np.float32 and np.abs(wave).max() <= 1 for wave in waves.values())
    peaks = [20 * np.log10(np.abs(waves[name]).max()) for name in LEVELS]
    np.testing.assert_allclose(peaks, [-50, -25, 0], atol=1e-4)
    clicks, jump, noise = (waves[name] for name in ABRUPT)
    assert (clicks == 1).sum() in (3, 4)
    assert np.median(np.abs(clicks)) < 0.01
    whisper, loud = jump[: 2 * rate], jump[2 * rate :]
    assert np.abs(whisper).max() == pytest.approx(1e-3)
    assert np.abs(loud).max() > 0.5
    assert np.sqrt(np.mean(noise**2)) > 0.4


def test_less_is_enough_where_little_is_left() -> None:
    assert allowance_db("clicks", "fp16") == allowance_db("-50-dBFS", "int8") == 0
    assert allowance_db("full-scale-noise", "fp16") == 10
    assert {allowance_db(name, "int8") for name in ABRUPT} == {15}
