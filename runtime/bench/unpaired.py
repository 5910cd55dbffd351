"""Times of two results that were measured apart, with the anchor between them."""

from collections.abc import Iterator
from math import exp, inf, log

import msgspec
import numpy as np

from frcrn_export.runtime.bench.cases import Wanted
from frcrn_export.runtime.bench.comparison import RowVerdict, lacking
from frcrn_export.runtime.bench.result import Result, Row
from frcrn_export.runtime.bench.summary import FEWEST_ROUNDS
from frcrn_export.runtime.bench.verdict import Ratio, word_of
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.text import counted, shown


def narrowed(results: tuple[Result, Result], wanted: Wanted) -> tuple[Result, Result]:
    """Two results with the rows that are wanted, by file, backend and threads.

    Raises UserError where neither has any of them.
    """
    chosen = (("path", wanted.files), ("backend", wanted.backends), ("threads", wanted.threads))
    given = [(name, values) for name, values in chosen if values]
    if not given:
        return results
    base, new = (
        msgspec.structs.replace(
            each,
            rows=tuple(
                row for row in each.rows if all(getattr(row, name) in v for name, v in given)
            ),
        )
        for each in results
    )
    if not base.rows and not new.rows:
        there = dict.fromkeys(
            f"{row.path}, {row.backend}, {counted(row.threads, 'thread')}"
            for each in results
            for row in each.rows
        )
        raise UserError(f"no such row in either result; there are: {shown('; '.join(there))}")
    return base, new


def unpaired_rows(base: Result, new: Result, allowance: float) -> Iterator[RowVerdict]:
    """The rows of two results that were measured apart.

    On machines of one kind the ratio of medians is judged, with the change of the anchor between
    the runs as its floor. Else the ratio to the anchors is shown, and nothing is judged.

    Args:
        base: What there was.
        new: What there is.
        allowance: The slowdown that is accepted, as a share.
    """
    comparable = base.machine.times_as(new.machine)
    others = {row.key: row for row in new.rows}
    anchors = (
        float(np.median(new.anchor_ms)) / float(np.median(base.anchor_ms))
        if base.anchor_ms and new.anchor_ms
        else 1.0
    )
    for before in base.rows:
        after = others.pop(before.key, None)
        if after is None:
            if new.rows:
                yield lacking(before, in_base=True)
            continue
        if _is_broken(before) or _is_broken(after):
            why = "could not be measured: " + (after.failed or before.failed or "no samples")
            yield RowVerdict(
                path=after.path,
                row=after.label,
                verdict="broken",
                failed=_is_broken(after) and not _is_broken(before),
                why=why,
                command=after.command,
            )
            continue
        floor = max(abs(log(anchors)), *(_unsteadiness(each) for each in (base, new)))
        yield _unpaired_row(before, after, anchors, floor if comparable else inf, allowance)
    if base.rows:
        for row in others.values():
            yield lacking(row, in_base=False)


def _is_broken(row: Row) -> bool:
    """Whether a row has no measurement, or failed in the middle of it."""
    return row.summary is None or bool(row.failed)


def _unsteadiness(result: Result) -> float:
    """How much the anchor varied within a run: half of what its middle 80 % span, as logarithm."""
    if len(result.anchor_ms) < FEWEST_ROUNDS:
        return 0.0
    low, high = np.percentile(np.log(result.anchor_ms), (10, 90))
    return float(high - low) / 2


def _unpaired_row(
    base: Row, new: Row, anchors: float, floor: float, allowance: float
) -> RowVerdict:
    """One row. An infinite floor, of machines that differ, decides nothing."""
    assert base.summary is not None
    assert new.summary is not None
    divisor = 1.0 if floor < inf else anchors
    ratio = Ratio(
        middle=new.summary.median / base.summary.median / divisor,
        low=new.summary.low / base.summary.high / divisor,
        high=new.summary.high / base.summary.low / divisor,
    )
    enough = all(len(row.rounds) >= FEWEST_ROUNDS for row in (base, new))
    word = word_of(ratio, allowance, floor) if enough and floor < inf else "undecided"
    why = "" if word in ("same", "faster") else ratio.change
    if not enough:
        why = f"fewer than {FEWEST_ROUNDS} rounds; measure longer: --seconds 60 ({why})"
    return RowVerdict(
        path=new.path,
        row=new.label,
        verdict=word,
        failed=word == "slower",
        base_ms=base.summary.median,
        new_ms=new.summary.median,
        ratio=ratio.middle,
        low=ratio.low,
        high=ratio.high,
        floor=exp(floor) - 1 if floor < inf else None,
        blocks=min(len(base.rounds), len(new.rounds)),
        why=why,
        command=new.command,
    )
