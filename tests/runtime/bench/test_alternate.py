from collections.abc import Callable
from itertools import islice
from math import exp

import pytest

from frcrn_export.runtime.bench.alternate import Block, Opening, measure_opening, rounds, warm_up


class Machine:
    """A clock, and calls that take time by it. The machine itself slows down or not."""

    def __init__(self, drift: float = 0.0) -> None:
        self.now = 0.0
        self.drift = drift
        self.visited: list[str] = []

    def clock(self) -> float:
        return self.now

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.visited.append(name)
            self.now += seconds * (1 + self.drift * self.now)

        return run


def trio(machine: Machine, *seconds: float) -> list[Callable[[], None]]:
    return [machine.call(name, each) for name, each in zip("abc", seconds, strict=True)]


def test_a_block_goes_there_and_back() -> None:
    machine = Machine()
    list(islice(rounds(trio(machine, 1, 1, 1), 2, clock=machine.clock), 30))
    orders = set()
    for start in range(0, len(machine.visited), 12):
        visited = machine.visited[start : start + 12]
        assert visited == visited[::-1]
        assert sorted(visited) == sorted("aabbcc" * 2)
        orders.add("".join(visited[:6:2]))
    assert len(orders) == 6  # every order is drawn


def test_times_are_those_of_the_calls() -> None:
    machine = Machine()
    (block,) = islice(rounds(trio(machine, 0.001, 0.002, 0.004), 1, clock=machine.clock), 1)
    assert block == pytest.approx((1, 2, 4))


def test_a_machine_that_slows_down_does_so_for_all() -> None:
    machine = Machine(drift=0.05)
    opening = measure_opening(trio(machine, 0.1, 0.1, 0.12), 20.0, clock=machine.clock)
    assert opening.blocks[-1].base > 1.8 * opening.blocks[0].base
    for block in opening.blocks:
        assert block.again / block.base == pytest.approx(1.0, abs=0.002)
        assert block.new / block.base == pytest.approx(1.2, abs=0.004)


def test_an_opening_lasts_as_long_as_it_should_and_a_block_at_least() -> None:
    machine = Machine()
    assert len(measure_opening(trio(machine, 1, 1, 1), 0.0, clock=machine.clock).blocks) == 1
    began = machine.now
    measure_opening(trio(machine, 0.1, 0.1, 0.1), 5.0, clock=machine.clock)
    assert 5.0 <= machine.now - began <= 7.0


def test_an_opening_is_the_median_of_its_blocks() -> None:
    opening = Opening((Block(1, 4, 8), Block(1, 1, 2), Block(1, 400, 9000)))
    assert exp(opening.again) == pytest.approx(4)
    assert exp(opening.new) == pytest.approx(4)  # over the geometric mean of both bases


def test_a_visit_has_more_of_shorter_calls() -> None:
    machine = Machine()
    assert warm_up(trio(machine, 0.0005, 0.0005, 0.0005), machine.clock) == 10
    assert warm_up(trio(machine, 1.0, 1.0, 1.0), machine.clock) == 1
