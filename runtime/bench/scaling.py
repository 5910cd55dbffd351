"""How the cost grows: with the length of a recording, with streams, and with threads."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter

import numpy as np

from frcrn_export.runtime.bench.cases import Case, Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.measure import Progress, time_cases
from frcrn_export.runtime.bench.result import Row, Slope
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.processors import usable_processors

LENGTHS = (1.0, 4.0, 15.0, 60.0, 240.0, 900.0, 3_600.0)
STREAMS = (1, 2, 4, 8, 16, 32, 64)
_FEWEST = 3  # points of a slope


def scaling_wanted(given: Wanted) -> Wanted:
    """The rows of a scaling run: the user's files and backends, every length and batch."""
    threads = tuple(dict.fromkeys((1, usable_processors())))
    return Wanted(
        files=given.files,
        backends=given.backends,
        kinds=("offline", "hops"),
        threads=given.threads or threads,
        lengths=LENGTHS,
        streams=STREAMS,
    )


def measure_scaling(
    bundle: Bundle,
    wanted: Wanted,
    *,
    seconds: float,
    progress: Progress = lambda what, done, all_: None,
) -> tuple[list[Row], dict[str, str]]:
    """Time the rows of a scaling run; lengths that would take too long are left out.

    Args:
        bundle: An opened bundle.
        wanted: See `scaling_wanted`.
        seconds: About how long the run takes.
        progress: Called with what is measured, the rows done, and their number.

    Returns:
        The rows, and why others are missing.
    """
    cases = find_cases(bundle, wanted).cases
    speech = speech_of(bundle)
    groups: defaultdict[tuple[str, str, str, int], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.entry.path, case.backend, case.kind, case.threads].append(case)
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    each = seconds / max(1, len(groups))
    for group in groups.values():
        group.sort(key=lambda case: (case.batch, case.seconds))
        started, cost = perf_counter(), 0.0
        for number, case in enumerate(group):
            # Warm-up and a call at least; the last points may take most of the group's time.
            expected = 2 * cost * case.seconds * case.batch
            left = each - (perf_counter() - started)
            if expected > left and number >= _FEWEST:
                left_out[case.row(bundle).label] = (
                    f"it would take about {expected:.0f} s; to time it: {case.command(bundle)}"
                )
                continue
            progress(case.row(bundle).label, len(rows), len(cases))
            share = max(0.3, min(left / max(1, len(group) - number), 3.0))
            (row,) = time_cases(bundle, [case], speech, seconds=share).rows
            rows.append(row)
            if row.summary is not None:
                cost = row.summary.median / 1e3 / row.audio_seconds
    return rows, left_out


def slopes(rows: Iterable[Row]) -> Iterator[Slope]:
    """The growth along each line of rows that differ in one thing, of three points and more.

    `exponent` is that of time over the thing, fitted to logarithms: 1 is in proportion. `each_ms`
    is what one more second of audio, or one more stream, adds, fitted to the times.
    """
    lines: defaultdict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.summary is not None:
            kind = "streams" if row.kind in ("hop", "hops") else "length"
            lines[row.path, row.backend, kind, row.threads].append(row)
    for (path, backend, kind, threads), line in lines.items():
        points = sorted((_amount(row), row.summary.median) for row in line if row.summary)
        amounts, times = np.array(points, np.float64).T
        if len(set(amounts)) < _FEWEST:
            continue
        exponent = np.polyfit(np.log(amounts), np.log(times), 1)[0]
        each = np.polyfit(amounts, times, 1, w=1 / times)[0]
        yield Slope(
            path=path,
            backend=backend,
            along="streams" if kind == "streams" else "length",
            threads=threads,
            points=len(points),
            least=float(amounts[0]),
            most=float(amounts[-1]),
            exponent=float(exponent),
            each_ms=max(0.0, float(each)),
        )


def _amount(row: Row) -> float:
    return float(row.batch) if row.kind in ("hop", "hops") else row.audio_seconds


def thread_gains(rows: Sequence[Row]) -> Iterator[tuple[Row, Row, float]]:
    """Rows that differ in threads alone: with one, with more, and how many times as fast."""
    single = {row.key[:3] + row.key[4:]: row for row in rows if row.threads == 1 and row.summary}
    for row in rows:
        one = single.get(row.key[:3] + row.key[4:])
        if row.threads > 1 and one is not None and one.summary and row.summary:
            yield one, row, one.summary.median / row.summary.median
