import pytest

from frcrn_export.runtime.bench.anchor import anchor_ms, slowed_by


def test_the_anchor_takes_time() -> None:
    assert 0 < anchor_ms() < 1_000


def test_a_machine_that_throttles_is_seen() -> None:
    assert slowed_by([1.0] * 10) == 0
    assert slowed_by([1.0] * 5 + [1.3] * 5) == pytest.approx(0.3)
    assert slowed_by([1.3] * 5 + [1.0] * 5) == pytest.approx(0.3)


def test_one_disturbance_and_few_values_say_nothing() -> None:
    assert slowed_by([1.0] * 9 + [50.0]) == 0
    assert slowed_by([1.0, 9.0]) == 0
