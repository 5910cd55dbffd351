"""The procedure that ends with a verdict, on a clock of its own."""

from collections.abc import Iterator

import numpy as np

from frcrn_export.runtime.bench.alternate import Block, Opening
from frcrn_export.runtime.bench.paired import decide
from frcrn_export.runtime.bench.verdict import Verdict


class Machine:
    """Openings of two seconds each, with noise between sessions and a real ratio."""

    def __init__(self, ratio: float, spread: float, seed: int) -> None:
        self.now = 0.0
        self._ratio, self._spread = ratio, spread
        self._draw = np.random.default_rng(seed)

    def clock(self) -> float:
        return self.now

    def openings(self) -> Iterator[Opening]:
        while True:
            self.now += 2.0
            base, again, new = 10 * np.exp(self._draw.normal(0, self._spread, 3))
            yield Opening((Block(base, again, self._ratio * new),))


def decided(
    ratio: float, spread: float, budget: float = 120.0, seed: int = 0
) -> tuple[Verdict, float]:
    machine = Machine(ratio, spread, seed)
    verdict, done = decide(
        machine.openings(),
        budget=budget,
        rows=2,
        allowance=0.03,
        seed=seed,
        clock=machine.clock,
    )
    assert verdict.openings == len(done)
    return verdict, machine.now


def test_what_is_plain_takes_ten_openings() -> None:
    verdict, seconds = decided(1.5, 0.01)
    assert (verdict.word, verdict.openings, seconds) == ("slower", 10, 20.0)
    assert decided(1.0, 0.003)[0].word == "same"


def test_what_is_not_takes_more_up_to_the_budget() -> None:
    verdict, seconds = decided(1.06, 0.03)
    assert verdict.openings > 10
    verdict, seconds = decided(1.0, 0.3)
    assert (verdict.word, verdict.openings, seconds) == ("undecided", 60, 120.0)


def test_ten_openings_are_measured_without_a_budget() -> None:
    verdict, seconds = decided(1.0, 0.3, budget=0.1)
    assert (verdict.openings, seconds) == (10, 20.0)


def test_a_file_with_itself_is_rarely_slower() -> None:
    words = [decided(1.0, 0.03, seed=seed)[0].word for seed in range(60)]
    assert words.count("slower") <= 3


def test_a_real_slowdown_is_caught() -> None:
    words = [decided(1.15, 0.03, seed=seed)[0].word for seed in range(40)]
    assert words.count("slower") >= 38
