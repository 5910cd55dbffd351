import numpy as np
import pytest

from frcrn_export.exporters.training.rooms import draw_room, reverberate, room_response


def decay_time_s(response: np.ndarray) -> float:
    """Time to decay by 60 dB, from -5 to -25 dB of what is left (Schroeder, 1965)."""
    left = np.cumsum(np.square(response.astype(float))[::-1])[::-1]
    left_db = 10 * np.log10(left / left[0])
    return float(3 * (np.argmax(left_db < -25) - np.argmax(left_db < -5)) / 16000)


@pytest.mark.parametrize("reverberation_s", [0.2, 0.4, 0.7])
def test_decays_in_the_time_asked_for(reverberation_s: float) -> None:
    rng = np.random.default_rng(1)
    measured = [decay_time_s(draw_room(rng, (reverberation_s, reverberation_s))) for _ in range(8)]
    assert np.median(measured) == pytest.approx(reverberation_s, rel=0.15)


def test_reflections_are_where_the_walls_are() -> None:
    """One wall is near: its image is the first reflection, later and weaker than what is direct."""
    size, talker, microphone = (60.0, 60.0, 60.0), (2.0, 30.0, 30.0), (2.0, 33.0, 30.0)
    response = room_response(size, talker, microphone, 0.5, np.random.default_rng(0))
    direct, reflected = 3.0, np.hypot(3.0, 4.0)
    at = round((reflected - direct) / 343.0 * 16000)
    steps = np.diff(response)
    assert response[0] == pytest.approx(0.96, abs=0.01)
    assert 1 + np.argmax(steps[1:]) == at - 1
    assert 0.0 < steps[at - 1] < direct / reflected
    assert np.isfinite(response).all()


def test_low_tones_are_not_boosted() -> None:
    """What the images alone would add up to: 10 dB and more at 20 Hz."""
    rng = np.random.default_rng(4)
    for _ in range(8):
        response = draw_room(rng, (0.3, 0.6))
        level_db = 20 * np.log10(np.abs(np.fft.rfft(response, 16000)) + 1e-9)
        assert level_db[5:40].mean() < level_db[500:4000].mean()


def test_room_keeps_the_length_and_delays_nothing() -> None:
    rng = np.random.default_rng(2)
    audio = rng.standard_normal(5000).astype(np.float32)
    assert np.allclose(reverberate(audio, np.array([1.0], np.float32)), audio, atol=1e-5)
    response = draw_room(rng, (0.3, 0.3))
    wet = reverberate(audio, response)
    assert wet.dtype == np.float32
    assert np.allclose(wet, np.convolve(audio, response)[:5000], atol=1e-3)


def test_rooms_repeat_with_the_seed() -> None:
    first, again, other = (
        draw_room(np.random.default_rng(seed), (0.15, 0.7)) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:800], other[:800])
