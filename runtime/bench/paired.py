"""Times of two bundles in alternating blocks, and the verdict on every row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import ceil, log2
from time import perf_counter

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.alternate import Clock, Opening, measure_opening
from frcrn_export.runtime.bench.anchor import MUCH_SLOWER, anchor_ms, slowed_by
from frcrn_export.runtime.bench.cases import Call, Case, Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.comparison import RowVerdict, lacking
from frcrn_export.runtime.bench.measure import Progress
from frcrn_export.runtime.bench.result import Row
from frcrn_export.runtime.bench.verdict import FEWEST_OPENINGS, Verdict, judge
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import reason
from frcrn_export.runtime.text import shown

Opener = Callable[[Case, Bundle, Float32Array], Call]

# Of a row's budget, for one opening of its sessions; but no less than opening them took.
_SHARE_OF_BUDGET = 1 / 60
_LONGEST_BUDGET = 1_800.0  # seconds that advice asks for


class _SideFailed(Exception):
    """A session failed; `new` tells whose."""

    def __init__(self, error: Exception, *, new: bool) -> None:
        super().__init__(str(error))
        self.error, self.new = error, new


@dataclass(frozen=True)
class Timer:
    """How rows are timed. `budget`: seconds that a row may take until its verdict."""

    base: Bundle
    new: Bundle
    max_slowdown: float
    budget: float
    seed: int = 0
    open_case: Opener = Case.open

    def rows(self, wanted: Wanted, progress: Progress) -> Iterator[RowVerdict]:
        """The verdicts on all rows that either bundle has.

        Raises UserError where one has nothing to time.
        """
        before = {case.row(self.base).key: case for case in find_cases(self.base, wanted).cases}
        after = {case.row(self.new).key: case for case in find_cases(self.new, wanted).cases}
        keys = list(dict.fromkeys((*before, *after)))
        speech = speech_of(self.base)
        for number, key in enumerate(keys):
            row = after[key].row(self.new) if key in after else before[key].row(self.base)
            progress(row.label, number, len(keys))
            if key in before and key in after:
                yield self._row(row, before[key], after[key], speech, len(keys))
            else:
                yield lacking(row, in_base=key in before)

    def _row(self, row: Row, base: Case, new: Case, speech: Float32Array, rows: int) -> RowVerdict:
        """The verdict on one row, from as many blocks as it needs within its budget."""
        try:
            verdict, done = decide(
                self.openings(base, new, speech),
                budget=self.budget,
                rows=rows,
                allowance=self.max_slowdown,
                seed=self.seed,
            )
        except _SideFailed as failure:
            return _broken(row, failure)
        blocks = [block for opening in done for block in opening.blocks]
        base_ms, new_ms = (
            float(np.median([getattr(block, name) for block in blocks])) for name in ("base", "new")
        )
        return RowVerdict(
            path=row.path,
            row=row.label,
            verdict=verdict.word,
            failed=verdict.word == "slower",
            base_ms=base_ms,
            new_ms=new_ms,
            ratio=verdict.ratio.middle,
            low=verdict.ratio.low,
            high=verdict.ratio.high,
            floor=verdict.floor,
            openings=verdict.openings,
            blocks=len(blocks),
            why=_why(verdict, self.max_slowdown),
            command=row.command,
        )

    def openings(self, base: Case, new: Case, speech: Float32Array) -> Iterator[Opening]:
        """Openings without end: sessions of both bundles, measured for a while, and closed."""
        for number in count():
            started = perf_counter()
            calls = [self._opened(base, speech), self._opened(base, speech)]
            calls.append(self._opened(new, speech, new=True))
            took = perf_counter() - started
            seconds = max(took, _SHARE_OF_BUDGET * self.budget)
            yield measure_opening(calls, seconds, self.seed + number)
            del calls  # before the next are opened, which takes as much memory

    def _opened(self, case: Case, speech: Float32Array, *, new: bool = False) -> Call:
        """One call of a case, which says whose it is where it fails."""
        try:
            call = self.open_case(case, self.new if new else self.base, speech)
        except Exception as error:  # whatever it is, the other rows may still be compared
            raise _SideFailed(error, new=new) from error

        def guarded() -> None:
            try:
                call()
            except Exception as error:
                raise _SideFailed(error, new=new) from error

        return guarded


def decide(
    measured: Iterator[Opening],
    *,
    budget: float,
    rows: int,
    allowance: float,
    seed: int = 0,
    clock: Clock = perf_counter,
) -> tuple[Verdict, list[Opening]]:
    """Measure openings until there is a verdict, or the budget is spent.

    The verdict is looked for after 10 openings, 20, 40, ...; how many looks the budget has room for
    is estimated from the first ones, since each makes the others count for less.

    Args:
        measured: Openings, each measured when it is asked for.
        budget: In seconds by `clock`; ten openings are measured in any case.
        rows: How many rows the run judges.
        allowance: The slowdown that is accepted, as a share.
        seed: Of the bootstrap.
        clock: Seconds.

    Returns:
        The verdict, and the openings that it is from.
    """
    started = clock()
    done = list(islice(measured, FEWEST_OPENINGS))
    each = (clock() - started) / FEWEST_OPENINGS
    most = max(FEWEST_OPENINGS, int(budget / max(each, 1e-9)))
    looks = 1 + ceil(log2(most / FEWEST_OPENINGS))
    look = 0
    while True:
        goal = min(most, FEWEST_OPENINGS * 2**look)
        while len(done) < goal and clock() - started < budget:
            done.append(next(measured))
        verdict = judge(
            [opening.again for opening in done],
            [opening.new for opening in done],
            allowance=allowance,
            comparisons=rows * looks,
            seed=seed,
        )
        look += 1
        is_over = look >= looks or clock() - started >= budget
        if verdict.word != "undecided" or is_over:
            return verdict, done


def compare_times(
    timer: Timer, wanted: Wanted, progress: Progress
) -> tuple[list[RowVerdict], list[str]]:
    """The verdicts on all rows, and notes about the machine that they were measured on."""
    rows, anchors = [], [anchor_ms()]
    for row in timer.rows(wanted, progress):
        rows.append(row)
        anchors.append(anchor_ms())
    return rows, list(_notes(rows, anchors, timer))


def _broken(row: Row, failure: _SideFailed) -> RowVerdict:
    """A row whose session failed. That of the base is no regression."""
    said = shown(reason(failure.error), 1_000)
    return RowVerdict(
        path=row.path,
        row=row.label,
        verdict="broken",
        failed=failure.new,
        why=f"the {'new' if failure.new else 'base'} file fails: {said}",
        command=row.command,
    )


def _why(verdict: Verdict, allowance: float) -> str:
    if verdict.word == "slower":
        return f"{verdict.ratio.change}, {100 * allowance:g} % are allowed"
    if verdict.word == "undecided":
        return f"{verdict.ratio.change} after {verdict.openings} openings"
    return ""


def _notes(rows: Sequence[RowVerdict], anchors: Sequence[float], timer: Timer) -> Iterator[str]:
    floors = [row.floor for row in rows if row.floor is not None]
    if floors and max(floors) > timer.max_slowdown:
        # Noise falls with the square root of time.
        needed = timer.budget * (max(floors) / max(timer.max_slowdown, 1e-3)) ** 2
        time = f"give it more time (--budget {ceil(needed):g}), " * (needed <= _LONGEST_BUDGET)
        yield (
            f"base against base differs by up to {100 * max(floors):.1f} % here, more than the "
            f"{100 * timer.max_slowdown:g} % that are allowed: smaller slowdowns cannot be told "
            f"in these rows; end other work on this machine, {time}or allow as much "
            f"(--max-slowdown {ceil(100 * max(floors))}%)"
        )
    if (slower := slowed_by(anchors)) > MUCH_SLOWER:
        yield (
            f"the machine was {100 * slower:.0f} % slower in one half of this run than in the "
            "other: ratios are of pairs and stand, times in ms do not"
        )
