"""Times of two results that were measured apart, with the anchor between them."""

from collections.abc import Iterator
from math import exp, log

import numpy as np

from frcrn_export.runtime.bench.comparison import RowVerdict, lacking
from frcrn_export.runtime.bench.result import Result, Row
from frcrn_export.runtime.bench.verdict import Word


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
                verdict="undecided",
                failed=_is_broken(after) and not _is_broken(before),
                why=why,
                command=after.command,
            )
            continue
        yield _unpaired_row(before, after, anchors, comparable, allowance)
    if base.rows:
        for row in others.values():
            yield lacking(row, in_base=False)


def _is_broken(row: Row) -> bool:
    """Whether a row has no measurement, or failed in the middle of it."""
    return row.summary is None or bool(row.failed)


def _unpaired_row(
    base: Row, new: Row, anchors: float, comparable: bool, allowance: float
) -> RowVerdict:
    assert base.summary is not None
    assert new.summary is not None
    divisor = 1.0 if comparable else anchors
    ratio = new.summary.median / base.summary.median / divisor
    low = new.summary.low / base.summary.high / divisor
    high = new.summary.high / base.summary.low / divisor
    floor = abs(log(anchors)) if comparable else None
    word: Word = "undecided"
    if floor is not None:
        if log(low) > max(log(1 + allowance), floor):
            word = "slower"
        elif log(high) < -floor:
            word = "faster"
        elif log(high) <= log(1 + allowance):
            word = "same"
    shares = f"{100 * (ratio - 1):+.1f} % ({100 * (low - 1):+.1f} to {100 * (high - 1):+.1f} %)"
    why = "" if word in ("same", "faster") else f"{word}: {shares}"
    return RowVerdict(
        path=new.path,
        row=new.label,
        verdict=word,
        failed=word == "slower",
        base_ms=base.summary.median,
        new_ms=new.summary.median,
        ratio=ratio,
        low=low,
        high=high,
        floor=None if floor is None else exp(floor) - 1,
        blocks=min(len(base.rounds), len(new.rounds)),
        openings=1,
        why=why,
        command=new.command,
    )
