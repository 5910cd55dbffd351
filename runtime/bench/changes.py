"""What changed between two results apart from times: counters, and parity in decibels."""

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from frcrn_export.runtime.bench.result import FileCounters
from frcrn_export.runtime.bundle.manifest import ParityResult

Outcome = Literal["same", "changed", "failed"]

MAX_DRIFT_DB = 1.0
# Costs: more of these is worse. A change of the rest, such as of operators, is neither.
_COSTS = (
    *("bytes", "parameters", "flop", "calls", "state_bytes"),
    *("activation_bytes", "weights_bytes"),
)


class CounterChange(Struct, frozen=True, kw_only=True):
    """One counter that differs, as text; "-" where a side does not have it."""

    path: str
    what: str
    base: str
    new: str
    outcome: Outcome


class ParityChange(Struct, frozen=True, kw_only=True):
    """One comparison with the reference, in both; None where a side lacks it."""

    artifact: str
    case: str
    base_db: float | None
    new_db: float | None
    floor_db: float
    outcome: Outcome
    why: str = ""


class QualityChange(Struct, frozen=True, kw_only=True):
    """The mean SI-SDR in dB of a file over pairs, in both."""

    artifact: str
    pairs: int
    base_db: float
    new_db: float
    outcome: Outcome


def counter_changes(
    base: Sequence[FileCounters],
    new: Sequence[FileCounters],
    *,
    max_growth: float,
    exact: bool,
    same_kernels: bool,
) -> Iterator[CounterChange]:
    """The counters that differ.

    Args:
        base: Of the base's files.
        new: Of the new files.
        max_growth: How much a cost may grow, as a share: 0.01 is 1 %.
        exact: Whether any change fails.
        same_kernels: Whether ONNX Runtime optimises alike for both; if not, the graphs as it runs
            them and the types of layers are not compared.
    """
    others = {each.path: each for each in new}
    for before in base:
        after = others.pop(before.path, None)
        if after is None:
            yield CounterChange(
                path=before.path, what="file", base="there", new="-", outcome="failed"
            )
            continue
        yield from _of_file(before, after, max_growth, exact, same_kernels)
    for path in others:
        outcome: Outcome = "failed" if exact else "changed"
        yield CounterChange(path=path, what="file", base="-", new="there", outcome=outcome)


def _of_file(
    base: FileCounters, new: FileCounters, max_growth: float, exact: bool, same_kernels: bool
) -> Iterator[CounterChange]:
    for name in _COSTS:
        before, after = getattr(base, name), getattr(new, name)
        if before == after:
            continue
        known = before is not None and after is not None
        failed = exact or (known and after > before * (1 + max_growth)) or after is None
        yield CounterChange(
            path=base.path,
            what=name.replace("_", " "),
            base=_text(before),
            new=_text(after),
            outcome="failed" if failed else "changed",
        )
    pairs = [("nodes", base.operators, new.operators)]
    if same_kernels:
        pairs.append(("nodes as run", base.optimised, new.optimised))
        for operator in sorted({*base.layers, *new.layers}):
            before, after = base.layers.get(operator, {}), new.layers.get(operator, {})
            pairs.append((f"layers: {operator}", before, after))
    for title, before, after in pairs:
        for name in sorted({*before, *after}):
            if before.get(name, 0) != after.get(name, 0):
                yield CounterChange(
                    path=base.path,
                    what=f"{title}: {name}",
                    base=_text(before.get(name)),
                    new=_text(after.get(name)),
                    outcome="failed" if exact else "changed",
                )


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:,.10g}"


def parity_changes(
    base: Sequence[ParityResult],
    new: Sequence[ParityResult],
    *,
    max_drift_db: float,
    judge_drift: bool,
) -> Iterator[ParityChange]:
    """Every comparison of both sides.

    It fails below its floor, where the new side lacks it, and where it is lower than in the base by
    more than `max_drift_db`; the last only with `judge_drift`, for the same weights and kernels:
    far above the floor these decide, and the order of sums.
    """
    others = {(each.artifact, each.case): each for each in new}
    for before in base:
        after = others.pop((before.artifact, before.case), None)
        yield _parity(before, after, max_drift_db, judge_drift)
    for after in others.values():
        yield _parity(None, after, max_drift_db, judge_drift)


def _parity(
    base: ParityResult | None, new: ParityResult | None, max_drift_db: float, judge_drift: bool
) -> ParityChange:
    either = new or base
    assert either is not None
    why = ""
    if new is None:
        why = "not compared any more"
    elif not new.passed:
        why = "below its floor"
    elif base is not None and judge_drift and new.snr_db < base.snr_db - max_drift_db:
        why = f"more than {max_drift_db:g} dB below the base"
    moved = base is None or new is None or base.snr_db != new.snr_db
    return ParityChange(
        artifact=either.artifact,
        case=either.case,
        base_db=None if base is None else base.snr_db,
        new_db=None if new is None else new.snr_db,
        floor_db=either.floor_db,
        outcome="failed" if why else "changed" if moved else "same",
        why=why,
    )
