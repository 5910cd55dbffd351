import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.bench.verdict import FEWEST_BLOCKS, Verdict, interval, judge


def judged(
    ratio: float, *, spread: float = 0.01, blocks: int = 60, seed: int = 0, drift: float = 0.0
) -> Verdict:
    """A verdict on blocks of a machine with this noise and drift, and a real ratio."""
    draw = np.random.default_rng(seed)
    course = 10 * np.exp(drift * np.linspace(0, 1, blocks))
    base, again, new = course * np.exp(draw.normal(0, spread, (3, blocks)))
    return judge(base, again, ratio * new, allowance=0.03, comparisons=8, seed=seed)


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.15, "slower"), (1.0, "same"), (1.02, "same"), (0.8, "faster")]
)
def test_what_is_plain_on_a_quiet_machine(ratio: float, word: str) -> None:
    assert judged(ratio).word == word


def test_a_machine_that_becomes_slower_is_no_slowdown() -> None:
    assert judged(1.0, drift=1.0).word == "same"


def test_noise_is_undecided_and_not_slower() -> None:
    words = [judged(1.03, spread=0.2, blocks=12, seed=seed).word for seed in range(20)]
    assert "slower" not in words
    assert words.count("undecided") >= 18


def test_a_few_blocks_decide_nothing() -> None:
    assert judged(2.0, blocks=FEWEST_BLOCKS - 1).word == "undecided"
    assert judged(2.0, blocks=FEWEST_BLOCKS).word == "slower"


def test_no_slowdown_below_what_base_against_base_shows() -> None:
    """The same file, opened twice, differs by 10 %: so may the new one."""
    draw = np.random.default_rng(0)
    base = 10 * np.exp(draw.normal(0, 0.005, 60))
    found = judge(base, 1.10 * base, 1.08 * base, allowance=0.03, comparisons=1)
    assert found.word != "slower"
    assert found.floor == pytest.approx(0.10, abs=0.01)


def test_more_comparisons_ask_for_more_certainty() -> None:
    draw = np.random.default_rng(1)
    logs = draw.normal(0, 0.05, 40)
    one, many = interval(logs, 0.95), interval(logs, 1 - 0.05 / 40)
    assert many.low < one.low < one.median < one.high < many.high


@settings(max_examples=25, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 1000))
def test_the_interval_scales_with_the_ratio(ratio: float, seed: int) -> None:
    logs = np.random.default_rng(seed).normal(0, 0.02, 20)
    there, scaled = interval(logs, 0.95), interval(logs + np.log(ratio), 0.95)
    for name in ("low", "median", "high"):
        assert getattr(scaled, name) == pytest.approx(ratio * getattr(there, name))


def test_equal_blocks_need_no_bootstrap() -> None:
    found = judge([1.0] * 10, [1.0] * 10, [1.0] * 10, allowance=0.0, comparisons=1)
    assert (found.word, found.floor) == ("same", 0.0)
