"""Timing calls in alternating blocks, such as base, the same base again, and new.

A block visits them in an order that is drawn, and then in the reverse of it (ABCCBA), so that a
machine that becomes faster or slower meanwhile does so for all of them. Sessions are opened again
every few seconds: two of the same file, opened once, differ by up to 3 % for as long as they live,
since the memory that they got decides which data share a place in the caches. What base against
base shows in the same blocks is what is left of all that.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from time import perf_counter

Call = Callable[[], object]
Clock = Callable[[], float]

# A visit lasts this long or one call, so that the caches are those of its own network, and a block
# is over before the machine changes.
_VISIT_SECONDS = 0.005
_WARM_UPS, _WARM_UP_SECONDS = 3, 0.1


@dataclass(frozen=True)
class Block:
    """The median times of a call in one block, in ms."""

    base: float
    again: float
    new: float


@dataclass(frozen=True)
class Opening:
    """The blocks of three sessions, from when they were opened until they were closed."""

    blocks: tuple[Block, ...]

    @property
    def again(self) -> float:
        """The logarithm of base over base, the median of the blocks."""
        return median(log(block.again / block.base) for block in self.blocks)

    @property
    def new(self) -> float:
        """The logarithm of new over the mean of both bases, the median of the blocks.

        Two sessions of the base tell its time better than one.
        """
        return median(log(b.new) - (log(b.base) + log(b.again)) / 2 for b in self.blocks)


def warm_up(calls: Sequence[Call], clock: Clock = perf_counter) -> int:
    """Call each until caches are filled; return how many calls make a visit."""
    times = []
    for call in calls:
        until, count = clock() + _WARM_UP_SECONDS, 0
        while count < _WARM_UPS or clock() < until:
            started = clock()
            call()
            times.append(clock() - started)
            count += 1
            if clock() > until + _WARM_UP_SECONDS:
                break  # long calls warm up at once
    return max(1, round(_VISIT_SECONDS / max(median(times), 1e-9)))


def rounds(
    calls: Sequence[Call], repeats: int, seed: int = 0, clock: Clock = perf_counter
) -> Iterator[tuple[float, ...]]:
    """Blocks without end, each measured when it is asked for.

    Args:
        calls: What to time.
        repeats: Calls of a visit, see `warm_up`.
        seed: Of the order of the visits.
        clock: Seconds.

    Returns:
        For each block the median times of the calls in ms, in their order.
    """
    order = random.Random(seed)
    while True:
        drawn = order.sample(range(len(calls)), len(calls))
        times: list[list[float]] = [[] for _ in calls]
        for index in (*drawn, *reversed(drawn)):
            for _ in range(repeats):
                started = clock()
                calls[index]()
                times[index].append(clock() - started)
        yield tuple(1e3 * median(each) for each in times)


def measure_opening(
    calls: Sequence[Call], seconds: float, seed: int = 0, clock: Clock = perf_counter
) -> Opening:
    """Blocks of three open sessions for so long, one at least.

    Args:
        calls: A call of the base, of the base opened once more, and of the new file.
        seconds: How long, by the clock.
        seed: Of the order of the visits.
        clock: Seconds.
    """
    measured = rounds(calls, warm_up(calls, clock), seed, clock)
    until = clock() + seconds
    found = [Block(*next(measured))]
    while clock() < until:
        found.append(Block(*next(measured)))
    return Opening(tuple(found))
