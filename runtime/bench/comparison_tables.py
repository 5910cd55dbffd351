"""A comparison as tables for people."""

from collections.abc import Iterator

from frcrn_export.runtime.bench.changes import CounterChange, ParityChange, QualityChange
from frcrn_export.runtime.bench.comparison import Comparison, RowVerdict
from frcrn_export.runtime.bench.tables import number
from frcrn_export.runtime.tables import Table
from frcrn_export.runtime.text import counted

_TIMES = (
    *("row", "verdict", ">base ms", ">new ms", ">new/base", ">interval", ">base/base", ">openings"),
    "note",
)
_TIMES_MINOR = (">openings", ">base ms", ">new ms", ">base/base", ">interval")
_CHANGES = ("file", "what", ">base", ">new", "outcome")
_QUALITY = ("file", ">pairs", ">base dB", ">new dB", "outcome")
_PARITY = ("file", "case", ">base dB", ">new dB", ">floor", "outcome")


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """Times, counters that differ, quality, parity that moved; what fails comes first."""
    if comparison.rows:
        rows = sorted(comparison.rows, key=lambda row: not row.failed)
        yield Table("Times", _TIMES, tuple(map(_verdict, rows)), _TIMES_MINOR)
    if comparison.counters:
        changes = sorted(comparison.counters, key=lambda change: change.outcome != "failed")
        yield Table("Counters that differ", _CHANGES, tuple(map(_change, changes)))
    if comparison.quality:
        yield Table("Quality: mean SI-SDR", _QUALITY, tuple(map(_drift, comparison.quality)))
    if moved := [each for each in comparison.parity if each.outcome != "same"]:
        moved.sort(key=lambda change: change.outcome != "failed")
        yield Table("Parity that moved", _PARITY, tuple(map(_moved, moved)))


def _change(each: CounterChange) -> tuple[str, ...]:
    return each.path, each.what, each.base, each.new, _said(each.outcome)


def _drift(each: QualityChange) -> tuple[str, ...]:
    decibels = f"{each.base_db:.2f}", f"{each.new_db:.2f}"
    return each.artifact, str(each.pairs), *decibels, _said(each.outcome)


def _moved(each: ParityChange) -> tuple[str, ...]:
    decibels = _decibels(each.base_db), _decibels(each.new_db), f"{each.floor_db:g}"
    return each.artifact, each.case, *decibels, each.why or _said(each.outcome)


def comparison_notes(comparison: Comparison) -> Iterator[str]:
    """The outcome in one line, what is the same, and the notes of the run."""
    failures = comparison.failures
    compared = (
        f"{counted(len(comparison.rows), 'row')} of times, "
        f"{counted(len(comparison.parity), 'comparison')} of parity, "
        f"the counters of {counted(comparison.files, 'file')}"
    )
    yield f"{len(failures)} failed of {compared}" if failures else f"all passed: {compared}"
    if not comparison.counters:
        yield "counters: none differs"
    if comparison.parity:
        same = sum(each.outcome == "same" for each in comparison.parity)
        compared = counted(len(comparison.parity), "comparison")
        yield f"parity: {compared}, {same} the same to 0.01 dB"
    yield from comparison.notes


def _verdict(row: RowVerdict) -> tuple[str, ...]:
    shown = row.verdict.upper() if row.failed else row.verdict
    if row.ratio is None or row.low is None or row.high is None:
        return (row.row, shown, *["-"] * 5, str(row.openings or "-"), row.why)
    return (
        row.row,
        shown,
        number(row.base_ms or 0.0),
        number(row.new_ms or 0.0),
        f"{row.ratio:.3f}",
        f"{row.low:.3f} to {row.high:.3f}",
        "-" if row.floor is None else f"{100 * row.floor:.1f} %",
        str(row.openings or "-"),
        row.why,
    )


def _said(outcome: str) -> str:
    return "FAILED" if outcome == "failed" else outcome


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
