import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.bench.verdict import (
    FEWEST_OPENINGS,
    Ratio,
    Verdict,
    interval,
    judge,
    word_of,
)


def judged(ratio: float, *, spread: float = 0.01, openings: int = 40, seed: int = 0) -> Verdict:
    """A verdict on openings of a machine with this noise, and a real ratio."""
    draw = np.random.default_rng(seed)
    again, new = draw.normal(0, spread, (2, openings))
    return judge(again, np.log(ratio) + new, allowance=0.03, comparisons=8, seed=seed)


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.15, "slower"), (1.0, "same"), (1.015, "same"), (0.8, "faster")]
)
def test_what_is_plain_on_a_quiet_machine(ratio: float, word: str) -> None:
    assert judged(ratio).word == word


def test_noise_is_undecided_and_not_slower() -> None:
    words = [judged(1.03, spread=0.2, openings=12, seed=seed).word for seed in range(20)]
    assert "slower" not in words
    assert words.count("undecided") >= 18


def test_a_few_openings_decide_nothing() -> None:
    assert judged(2.0, openings=FEWEST_OPENINGS - 1).word == "undecided"
    assert judged(2.0, openings=FEWEST_OPENINGS).word == "slower"


def test_no_slowdown_below_what_base_against_base_shows() -> None:
    """The same file, opened twice, differs by 10 %: so may the new one."""
    noise = np.random.default_rng(0).normal(0, 0.005, 60)
    found = judge(noise + np.log(1.10), noise + np.log(1.08), allowance=0.03, comparisons=1)
    assert found.word != "slower"
    assert found.floor == pytest.approx(0.10, abs=0.01)


def test_more_comparisons_ask_for_more_certainty() -> None:
    draw = np.random.default_rng(1)
    logs = draw.normal(0, 0.05, 40)
    one, many = interval(logs, 0.95), interval(logs, 1 - 0.05 / 40)
    assert many.low < one.low < one.middle < one.high < many.high


@settings(max_examples=25, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 1000))
def test_the_interval_scales_with_the_ratio(ratio: float, seed: int) -> None:
    logs = np.random.default_rng(seed).normal(0, 0.02, 20)
    there, scaled = interval(logs, 0.95), interval(logs + np.log(ratio), 0.95)
    for name in ("low", "middle", "high"):
        assert getattr(scaled, name) == pytest.approx(ratio * getattr(there, name))


def test_equal_openings_need_no_bootstrap() -> None:
    found = judge([0.0] * 10, [0.0] * 10, allowance=0.0, comparisons=1)
    assert (found.word, found.floor) == ("same", 0.0)


@pytest.mark.parametrize(
    ("low", "high", "floor", "word"),
    [
        (1.04, 1.06, 0.0, "slower"),
        (1.04, 1.06, 0.1, "undecided"),  # less than base against base shows
        (1.02, 1.06, 0.0, "undecided"),
        (0.99, 1.02, 0.0, "same"),
        (0.90, 1.02, 0.0, "undecided"),  # it may be much faster
        (0.90, 0.95, 0.0, "faster"),
        (0.90, 0.95, 0.1, "undecided"),
        (0.98, 0.99, 0.0, "faster"),
    ],
)
def test_the_word_for_an_interval(low: float, high: float, floor: float, word: str) -> None:
    assert word_of(Ratio((low + high) / 2, low, high), 0.03, floor) == word


def test_a_ratio_as_a_change() -> None:
    assert Ratio(1.05, 0.99, 1.1).change == "+5.0 % (-1.0 to +10.0 %)"
