"""Timing the rows of a bundle: in turn, round after round, until their medians are certain."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import msgspec

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.anchor import anchor_ms
from frcrn_export.runtime.bench.cases import Call, Case
from frcrn_export.runtime.bench.machine import processor_seconds
from frcrn_export.runtime.bench.result import Row
from frcrn_export.runtime.bench.summary import CERTAINTY, is_certain, summarise
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import reason
from frcrn_export.runtime.text import shown

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

# Caches fill and clocks rise.
_WARM_UP_SECONDS, _FEWEST_WARM_UPS = 0.2, 3
# A row's turn: long enough for several calls, short enough that a disturbance hits all rows.
_TURN_SECONDS, _MOST_CALLS = 0.1, 100
_LONG_SECONDS = 2.0
_DIGITS = 5  # of milliseconds: 10 ns


@dataclass
class Timed:
    """A row that is being measured. `failed` says why it ended early."""

    case: Case
    call: Call | None = None
    rounds: list[tuple[float, ...]] = field(default_factory=list)
    processor: float = 0.0  # seconds
    failed: str = ""

    @property
    def calls(self) -> int:
        """How many calls were timed."""
        return sum(map(len, self.rounds))

    def row(self, bundle: Bundle) -> Row:
        """The row as it stands in a result."""
        row = self.case.row(bundle)
        if not self.rounds:
            return msgspec.structs.replace(row, failed=self.failed)
        return msgspec.structs.replace(
            row,
            rounds=tuple(self.rounds),
            processor_ms=1e3 * self.processor / self.calls,
            summary=summarise(self.rounds),
            failed=self.failed,
        )


@dataclass(frozen=True)
class Timing:
    """The rows of a run, and the anchor's times between their rounds."""

    rows: list[Row]
    anchors: list[float]


def time_cases(
    bundle: Bundle,
    cases: Sequence[Case],
    speech: Float32Array,
    *,
    seconds: float,
    certainty: float = CERTAINTY,
    seed: int = 0,
    progress: Progress = lambda what, done, all_: None,
) -> Timing:
    """Time cases in turn, in an order that is drawn for every round.

    A row is done when the 95 % interval of its median lies within `certainty` of it. A row that
    fails, when it is opened or later, keeps its reason; the others go on.

    Args:
        bundle: The bundle of the cases.
        cases: What to time.
        speech: [N] at the bundle's rate.
        seconds: The run ends after this time, with every row timed once at least.
        certainty: As a share of the median.
        seed: Of the order.
        progress: Called with the row, the rows that are done, and their number.

    Returns:
        A row for each case, in their order.
    """
    started = perf_counter()
    timed = [Timed(case) for case in cases]
    order = random.Random(seed)
    for number, each in enumerate(timed):
        progress(f"opening {each.case.entry.path}", number, len(timed))
        _open(each, bundle, speech, longest=seconds / 2)
    anchors = [anchor_ms()]
    pending = [each for each in timed if not each.failed and not each.rounds]
    while pending:
        order.shuffle(pending)
        for each in pending:
            if each.rounds and perf_counter() - started > seconds:
                continue
            progress(each.case.row(bundle).label, len(timed) - len(pending), len(timed))
            _turn(each)
        anchors.append(anchor_ms())
        pending = [e for e in pending if not e.failed and not is_certain(e.rounds, certainty)]
        if perf_counter() - started > seconds:
            break
    return Timing([each.row(bundle) for each in timed], anchors)


def _open(each: Timed, bundle: Bundle, speech: Float32Array, longest: float) -> None:
    """Open a row and warm it up. A call that takes longer than `longest` is its measurement."""
    try:
        each.call = each.case.open(bundle, speech)
        processor, started = processor_seconds(), perf_counter()
        each.call()
        took = perf_counter() - started
        if took > max(longest, _LONG_SECONDS):
            each.rounds.append((round(1e3 * took, _DIGITS),))
            each.processor = processor_seconds() - processor
            return
        until, calls = perf_counter() + _WARM_UP_SECONDS, 1
        while calls < _FEWEST_WARM_UPS or perf_counter() < until:
            each.call()
            calls += 1
            if perf_counter() > until + _WARM_UP_SECONDS:
                break  # long calls warm up at once
    except Exception as error:  # whatever it is, the other rows may still run
        _fail(each, error)


def _turn(each: Timed) -> None:
    """One round of a row: calls for a tenth of a second, one at least."""
    assert each.call is not None
    times: list[float] = []
    processor, until = processor_seconds(), perf_counter() + _TURN_SECONDS
    try:
        while not times or (perf_counter() < until and len(times) < _MOST_CALLS):
            started = perf_counter()
            each.call()
            times.append(round(1e3 * (perf_counter() - started), _DIGITS))
    except Exception as error:
        _fail(each, error)
    if times:
        each.rounds.append(tuple(times))
        each.processor += processor_seconds() - processor


def _fail(each: Timed, error: Exception) -> None:
    each.failed = shown(reason(error), 1_000)
    logger.warning("%s, %s: %s", each.case.entry.path, each.case.kind, each.failed)
